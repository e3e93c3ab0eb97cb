"""Fixed linear filters as operators that are computed once and applied to whole batches.

A zero-phase filter of a stretch of fixed length is one fixed linear map. Away from the edges it is
a convolution, that is a Toeplitz matrix, which the FFT applies; what the edges do differently (the
odd extension, the initial states, the end of the forward pass) has a rank of some tens. Both parts
are found in float64 from scipy's own answer, so that the operator equals scipy's filter and is
several times faster, on either device and whatever the TF32 setting.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.float32 import full_precision

ROWS_IN_CACHE = 48  # of 4,096 samples; their spectra together fit a cache of some MiB
LOWEST = 12.0  # Hz, kept by a whitening that decimates: detector noise begins at 10 Hz
RANK_TOLERANCE = 1e-9  # of the filter's peak gain of one; float32 resolves 6e-8


# --- the Butterworth filter ----------------------------------------------------------------------


def check_band(name: str, lower: float, upper: float, sr: float) -> None:
    """Check that 0 < lower < upper < sr / 2.

    Raises:
        UserError: it is not so.
    """
    if not 0 < lower < upper < sr / 2:
        raise UserError(
            f"{name}: the band {lower:g} to {upper:g} Hz is not one: expected "
            f"0 < lower < upper < {sr / 2:g}, half the sampling rate"
        )


def zero_phase_filter(
    x: np.ndarray, lower: float, upper: float, sr: float, order: int
) -> np.ndarray:
    """Filter the last axis forwards and backwards with a Butterworth band-pass, in float64.

    Second-order sections: the polynomial form of order 8 at 12 Hz is off by 1e-3. The odd
    extension is that of `filtfilt` on the polynomial form, 3 (2 order + 1) samples.

    Args:
        x: (..., time).
        lower: lower edge in Hz, where the gain of both passes together is one half.
        upper: upper edge in Hz, likewise.
        sr: sampling rate in Hz.
        order: order of the low-pass prototype; the band-pass has twice as many poles.
    """
    from scipy import signal

    sections = signal.butter(order, (lower, upper), "bandpass", fs=sr, output="sos")
    padding = 3 * (2 * order + 1)
    if x.shape[-1] <= padding:
        raise UserError(
            f"a band-pass of order {order} needs more than {padding} samples and was given "
            f"{x.shape[-1]}: use a longer waveform or a lower order"
        )
    return signal.sosfiltfilt(sections, x, axis=-1, padlen=padding)


class EdgedConvolution(NamedTuple):
    """A linear map of `length` samples: a convolution and a low-rank correction at the edges.

    y = crop(irfft(rfft(x, size) * spectrum)) + (x @ right) @ left
    """

    spectrum: Tensor  # (size // 2 + 1,) float32, real: the impulse response is symmetric
    right: Tensor  # (length, rank) float64
    left: Tensor  # (rank, length) float64
    size: int

    def __call__(self, x: Tensor) -> Tensor:
        """Filter (..., length); the result is float32."""
        length = self.left.shape[-1]
        rows = x.reshape(-1, length).float()  # (rows, length)
        with torch.autocast(x.device.type, enabled=False):
            # In float64, because a float32 product may be rounded to TF32; it is a small one.
            y = ((rows.double() @ self.right) @ self.left).float()  # (rows, length)
            step = ROWS_IN_CACHE if rows.device.type == "cpu" else max(len(rows), 1)
            parts = [self.convolve(part) for part in rows.split(step)]
            y = y + (torch.cat(parts) if len(parts) > 1 else parts[0])
        return y.reshape(x.shape)

    def convolve(self, rows: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(rows, self.size) * self.spectrum  # (rows, size // 2 + 1)
        return torch.fft.irfft(spectrum, self.size)[:, : rows.shape[-1]]


@functools.lru_cache(maxsize=16)
def band_pass_arrays(
    length: int, lower: float, upper: float, sr: float, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return spectrum, right, left and size of `EdgedConvolution` for a zero-phase band-pass.

    The correction is scipy's map less the convolution. Its rank is at most twice the extension
    plus the filter's states, so that many random directions span it (Halko, Martinsson and Tropp,
    SIAM Review 53, 217, 2011); directions below `RANK_TOLERANCE` are then dropped. Takes a second
    or two for 4,096 samples, once in a process.
    """
    from scipy.fft import next_fast_len

    band = (lower, upper, sr, order)
    # impulse response of both passes at lags 0 .. length - 1, from a stretch without near edges
    impulse = np.zeros(8 * length + 1)
    impulse[4 * length] = 1.0
    lags = zero_phase_filter(impulse, *band)[4 * length : 5 * length]
    size = next_fast_len(2 * length, real=True)
    circulant = np.zeros(size)
    circulant[:length] = lags
    circulant[size - length + 1 :] = lags[:0:-1]
    spectrum = np.fft.rfft(circulant).real

    def convolve(rows: np.ndarray) -> np.ndarray:
        return np.fft.irfft(np.fft.rfft(rows, size) * spectrum, size)[:, :length]

    width = min(length, 2 * 3 * (2 * order + 1) + 6 * order + 8)
    probes = np.random.default_rng(0).standard_normal((width, length))
    answers = zero_phase_filter(probes, *band) - convolve(probes)  # (width, length)
    basis = np.linalg.qr(answers.T)[0]  # (length, width), spans the correction's range
    right = -convolve(basis.T).T  # (length, width): the convolution is symmetric
    step = max(1, 2**21 // length)  # unit vectors a time, 16 MiB of them
    for start in range(0, length, step):
        units = np.eye(min(step, length - start), length, start)
        right[start : start + step] += zero_phase_filter(units, *band) @ basis
    vectors, values, mixing = np.linalg.svd(right, full_matrices=False)
    keep = values > RANK_TOLERANCE
    return spectrum, vectors[:, keep] * values[keep], mixing[keep] @ basis.T, size


@functools.lru_cache(maxsize=32)
def band_pass_operator(
    length: int, lower: float, upper: float, sr: float, order: int, device: torch.device
) -> EdgedConvolution:
    """Return the zero-phase Butterworth band-pass of `length` samples on a device, made once."""
    spectrum, right, left, size = band_pass_arrays(length, lower, upper, sr, order)
    with torch.inference_mode(False):  # may later serve where gradients are wanted
        return EdgedConvolution(
            torch.tensor(spectrum, dtype=torch.float32, device=device),
            torch.tensor(right, device=device),
            torch.tensor(left, device=device),
            size,
        )


class Convolution(NamedTuple):
    """A causal convolution with an impulse response as long as the waveform."""

    spectrum: Tensor  # (size // 2 + 1,) complex64
    size: int

    def __call__(self, x: Tensor) -> Tensor:
        """Filter (..., time); the result is float32."""
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft(x.float(), self.size) * self.spectrum
            return torch.fft.irfft(spectrum, self.size)[..., : x.shape[-1]]


@functools.lru_cache(maxsize=16)
def biquad_operator(
    length: int, lower: float, upper: float, sr: float, device: torch.device
) -> Convolution:
    """Return the band-pass section of `BandPassTorch` for `length` samples on a device."""
    from scipy import signal

    centre = math.sqrt(lower * upper)
    angle = 2 * math.pi * centre / sr
    alpha = math.sin(angle) * (upper - lower) / (2 * centre)  # sin(angle) / (2 Q)
    numerator = np.array([alpha, 0.0, -alpha]) / (1 + alpha)
    denominator = np.array([1 + alpha, -2 * math.cos(angle), 1 - alpha]) / (1 + alpha)
    impulse = np.zeros(length)
    impulse[0] = 1.0
    response = signal.lfilter(numerator, denominator, impulse)
    spectrum = np.fft.rfft(response, 2 * length)
    with torch.inference_mode(False):
        return Convolution(torch.tensor(spectrum, dtype=torch.complex64, device=device), 2 * length)


# --- whitening -----------------------------------------------------------------------------------


def covariance_root(psd: Sequence[float] | np.ndarray, length: int, sr: float) -> np.ndarray:
    """Return C^(-1/2) for `length` samples of stationary noise of a given PSD.

    Args:
        psd: (size // 2 + 1,) one-sided PSD at the frequencies of `rfft` of `size` samples, from 0
            to sr / 2, in (unit of the signal)^2 / Hz, positive everywhere; size >= 2 length, so
            that the noise need not repeat within the stretch.
        length: number of samples, even.
        sr: sampling rate in Hz.

    Returns:
        (length, length) float64.

    Raises:
        UserError: the PSD is too short or not positive.
    """
    from physics import noise

    psd = np.asarray(psd, dtype=np.float64)
    size = 2 * (len(psd) - 1)
    if size < 2 * length:
        raise UserError(
            f"Whiten: a PSD of {len(psd)} rows resolves {size} samples and at least "
            f"{2 * length} are needed: give one with {length + 1} rows or more"
        )
    if not (np.isfinite(psd).all() and (psd > 0).all()):
        raise UserError("Whiten: the PSD must be positive and finite in every row")
    covariance = np.fft.irfft(psd * sr / 2, size)[:length]  # Wiener-Khinchin
    return noise.symmetric_power(covariance, -0.5)


def welch_amplitude(x: Tensor, segments: int) -> Tensor:
    """Return the root of the average PSD of half-overlapping segments, on the whole's grid.

    Args:
        x: (..., time).
        segments: their number; one has 2 time / (segments + 1) samples.

    Returns:
        (..., time // 2 + 1); white noise of variance one has a value of one.
    """
    length = x.shape[-1]
    size = 2 * length // (segments + 1)
    window = torch.hann_window(size, device=x.device)
    window = window / window.square().sum().sqrt()
    pieces = x.unfold(-1, size, max(size // 2, 1)) * window  # (..., segment, size)
    power = torch.fft.rfft(pieces).abs().square().mean(dim=-2)  # (..., size // 2 + 1)
    flat = power.reshape(-1, 1, power.shape[-1])
    fine = torch.nn.functional.interpolate(flat, length // 2 + 1, mode="linear", align_corners=True)
    return fine.sqrt().reshape(*x.shape[:-1], length // 2 + 1)


def interpolated_amplitude(
    psds: Sequence[np.ndarray], length: int, sr: float, device: torch.device
) -> Tensor:
    """Return what to divide `rfft` of `length` samples by, (channel, length // 2 + 1) float32."""
    grid = np.linspace(0, 1, length // 2 + 1)
    rows = []
    for psd in psds:
        psd = np.asarray(psd, dtype=np.float64)
        if not (np.isfinite(psd).all() and (psd > 0).all()):
            raise UserError("WhitenTorch: a PSD must be positive and finite in every row")
        rows.append(np.sqrt(np.interp(grid, np.linspace(0, 1, len(psd)), psd) * sr / 2))
    return torch.tensor(np.stack(rows), dtype=torch.float32, device=device)


def mirrored_blocks(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Split a matrix symmetric about both diagonals into the maps of sums and of differences.

    With x = (u, v) and J the reversal, y = M x is (p + q, J (p - q)) where p = even (u + J v) / 2
    and q = odd (u - J v) / 2: two products of half the size, half the work of one.

    Returns:
        (even, odd), each (n / 2, n / 2), or None where the matrix has not this symmetry.
    """
    n = matrix.shape[0]
    if matrix.shape != (n, n) or n % 2:
        return None
    if not np.allclose(matrix, matrix[::-1, ::-1], rtol=0, atol=1e-6 * np.abs(matrix).max()):
        return None
    half = n // 2
    top, corner = matrix[:half, :half], matrix[:half, half:][:, ::-1]
    return (top + corner) / 2, (top - corner) / 2


class DenseMap(NamedTuple):
    """A linear map as one matrix, or as its two mirrored blocks."""

    matrices: tuple[Tensor, ...]  # one (in, out), or (in / 2, out / 2) for sums and differences

    def __call__(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out) in float32."""
        with full_precision(x.device.type):
            rows = x.float().reshape(-1, x.shape[-1])  # (..., in) -> (rows, in)
            if len(self.matrices) == 1:
                y = rows @ self.matrices[0]
            else:
                even, odd = self.matrices
                half = rows.shape[1] // 2
                first, mirrored = rows[:, :half], rows[:, half:].flip(1)
                sums = (first + mirrored) @ even  # (rows, half)
                differences = (first - mirrored) @ odd  # (rows, half)
                y = torch.cat([sums + differences, (sums - differences).flip(1)], dim=1)
            return y.reshape(*x.shape[:-1], y.shape[1])  # (rows, out) -> (..., out)


def dense_map(matrix: np.ndarray, device: torch.device) -> DenseMap:
    """Return y = matrix @ x as an operator on a device, in float32."""
    blocks = mirrored_blocks(matrix) or (matrix,)
    with torch.inference_mode(False):
        return DenseMap(
            tuple(
                torch.tensor(np.ascontiguousarray(block.T), dtype=torch.float32, device=device)
                for block in blocks
            )
        )


def design_whitening(
    detector: str,
    length: int,
    sr: float,
    band: tuple[float, float] | None,
    order: int,
    decimate: int,
    device: torch.device,
) -> DenseMap:
    """Return the whitening of a detector's design curve as an operator, made once.

    Detectors of one curve share it.
    """
    from physics import noise

    curve = noise.CURVES.get(detector)
    # of an unknown detector, whitening_matrix says so
    first = next((name for name, other in noise.CURVES.items() if other == curve), detector)
    return whitening_operator(first, length, sr, band, order, decimate, device)


@functools.lru_cache(maxsize=8)
def whitening_operator(
    detector: str,
    length: int,
    sr: float,
    band: tuple[float, float] | None,
    order: int,
    decimate: int,
    device: torch.device,
) -> DenseMap:
    from physics import noise

    matrix = noise.whitening_matrix(detector, n=length, fs=sr)
    return dense_map(folded(matrix, sr, band, order, decimate), device)


def folded(
    matrix: np.ndarray, sr: float, band: tuple[float, float] | None, order: int, decimate: int
) -> np.ndarray:
    """Return the matrix followed by a zero-phase band-pass, and every `decimate`-th row of that.

    Without a band, decimation takes the output's orthonormal cosine transform (DCT-II), keeps what
    lies between `LOWEST` and sr / (2 decimate), and transforms back at the shorter length. That map
    keeps lengths of what it keeps, so that white noise comes out white but for the lowest
    frequencies, where the detectors' curves end and no exact whitening exists; see `without_low`.
    """
    if band is not None:
        columns = np.ascontiguousarray(matrix.T, dtype=np.float64)  # (in, out): filter the outputs
        matrix = zero_phase_filter(columns, *band, sr, order).T
    elif decimate > 1:
        from scipy.fft import dct, idct

        spectrum = dct(np.asarray(matrix, np.float64), axis=0, norm="ortho")  # (frequency, in)
        spectrum[: num_low(len(matrix), sr)] = 0
        return idct(spectrum[: len(matrix) // decimate], axis=0, norm="ortho")
    return matrix[::decimate]


def num_low(length: int, sr: float) -> int:
    """Return how many rows of the cosine transform of `length` samples lie below `LOWEST`."""
    return math.ceil(2 * length * LOWEST / sr)


@functools.lru_cache(maxsize=8)
def low_rows(length: int, sr: float, device: torch.device) -> Tensor:
    """Return the orthonormal cosines below `LOWEST`, (length, rows) float32."""
    from scipy.fft import idct

    units = np.eye(num_low(length, sr), length)
    rows = idct(units, axis=1, norm="ortho")
    with torch.inference_mode(False):
        return torch.tensor(rows.T, dtype=torch.float32, device=device)


def without_low(x: Tensor, sr: float) -> Tensor:
    """Take from (..., time) what `Whiten(decimate=...)` leaves out at low frequencies."""
    cosines = low_rows(x.shape[-1], sr, x.device)
    with full_precision(x.device.type):
        return x - (x @ cosines) @ cosines.T
