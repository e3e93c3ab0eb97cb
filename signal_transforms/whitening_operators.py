"""Whitening as a fixed linear map: one matrix product for a whole batch.

Noise n of covariance C becomes white under W = C^(-1/2), since W C W^T = 1. W is symmetric, and as
C is Toeplitz, W is symmetric about its other diagonal as well; `mirrored_blocks` uses both. A
band-pass B and a decimation D that follow are linear, so D B W is one matrix too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from physics.cache_folder import cache_folder
from physics.curves import DetectorNoise
from runtime.errors import UserError
from runtime.float32_precision import full_precision
from signal_transforms.band_pass_operators import zero_phase_filter

# The lowest frequency that a whitening keeps if it decimates, as a multiple of the frequency at
# which the noise begins: 12 Hz for noise from 10 Hz on.
LOWEST_KEPT = 1.2
FORMAT = 1  # of kept rows; raise it when the same settings would give others


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
    from physics.noise import symmetric_power

    psd = np.asarray(psd, dtype=np.float64)
    size = 2 * (len(psd) - 1)
    if size < 2 * length:
        raise UserError(
            f"Whiten: a PSD of {len(psd)} rows resolves {size} samples and at least "
            f"{2 * length} are needed: give one with {length + 1} rows or more"
        )
    if not (np.isfinite(psd).all() and (psd > 0).all()):
        raise UserError("Whiten: the PSD must be positive and finite in every row")
    # Wiener-Khinchin for a one-sided PSD S: c[k] = int_0^(sr/2) S(f) cos(2 pi f k / sr) df. As a
    # sum over the grid of `size` samples this is irfft(S sr / 2).
    covariance = np.fft.irfft(psd * sr / 2, size)[:length]  # (length,), first row of C
    return symmetric_power(covariance, -0.5)


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
    # Unit energy: white noise of variance one then has a mean power of one in every bin.
    window = window / window.square().sum().sqrt()
    pieces = x.unfold(-1, size, max(size // 2, 1)) * window  # (..., segment, size)
    power = torch.fft.rfft(pieces).abs().square().mean(dim=-2)  # (..., size // 2 + 1)
    flat = power.reshape(-1, 1, power.shape[-1])  # (rows, 1, size // 2 + 1)
    fine = torch.nn.functional.interpolate(flat, length // 2 + 1, mode="linear", align_corners=True)
    return fine.sqrt().reshape(*x.shape[:-1], length // 2 + 1)  # (rows, 1, ...) -> (..., ...)


def interpolated_amplitude(
    psds: Sequence[np.ndarray], length: int, sr: float, device: torch.device
) -> Tensor:
    """Return what to divide `rfft` of `length` samples by, (channel, length // 2 + 1) float32.

    E|rfft(n)|^2 = length S(f) sr / 2 for noise of one-sided PSD S. Division by sqrt(S sr / 2)
    therefore gives the rfft of white noise of variance one.
    """
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

    A matrix with M = J M J, J the reversal of n samples, keeps symmetric vectors symmetric and
    antisymmetric ones antisymmetric. Write M = [[A, K], [J K J, J A J]] and x = (u, v). The sum
    s = u + J v and the difference d = u - J v then give

        y = (p + q, J (p - q)),  p = (A + K J) s / 2,  q = (A - K J) d / 2:

    two products of half the size, half the work of one.

    Returns:
        (even, odd), each (n / 2, n / 2), or None where the matrix has not this symmetry.
    """
    n = matrix.shape[0]
    if matrix.shape != (n, n) or n % 2:
        return None
    if not np.allclose(matrix, matrix[::-1, ::-1], rtol=0, atol=1e-6 * np.abs(matrix).max()):
        return None
    half = n // 2
    top, corner = matrix[:half, :half], matrix[:half, half:][:, ::-1]  # A and K J
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
                sums = (first + mirrored) @ even  # p (rows, half)
                differences = (first - mirrored) @ odd  # q (rows, half)
                y = torch.cat([sums + differences, (sums - differences).flip(1)], dim=1)
            return y.reshape(*x.shape[:-1], y.shape[1])  # (rows, out) -> (..., out)


def make_dense_map(matrix: np.ndarray, device: torch.device) -> DenseMap:
    """Return y = matrix @ x as an operator on a device, in float32."""
    blocks = mirrored_blocks(matrix) or (matrix,)
    with torch.inference_mode(False):
        return DenseMap(
            tuple(
                torch.tensor(np.ascontiguousarray(block.T), dtype=torch.float32, device=device)
                for block in blocks
            )
        )


@functools.lru_cache(maxsize=8)
def design_whitening(
    noise: DetectorNoise,
    length: int,
    band: tuple[float, float] | None,
    order: int,
    decimate: int,
    device: torch.device,
) -> DenseMap:
    """Return the whitening of a detector's noise as an operator, made once.

    Detectors of one curve share it: their noise is equal. A decimated one is kept on disk, like the
    matrix of the whitening: filtering that takes seconds, most of them to import scipy's filters.
    """
    from physics.noise import autocovariance, keep_matrix, kept_name, whitening_matrix

    sr, lowest = noise.sample_rate, LOWEST_KEPT * noise.min_frequency

    def compute() -> np.ndarray:
        matrix = whitening_matrix(noise, length)
        return band_pass_and_decimate_rows(matrix, sr, lowest, band, order, decimate)

    if decimate == 1:  # of a square one, the mirrored blocks are taken before it is rounded
        return make_dense_map(compute(), device)
    settings = (FORMAT, sr, lowest, band, order, decimate)
    key = autocovariance(noise, length).tobytes() + repr(settings).encode()
    path = cache_folder() / kept_name(noise, length, key)
    count = length // decimate if band is None else -(-length // decimate)
    rows = keep_matrix(path, (count, length), lambda: compute().astype(np.float32))
    return make_dense_map(rows, device)


def band_pass_and_decimate_rows(
    matrix: np.ndarray,
    sr: float,
    lowest: float,
    band: tuple[float, float] | None,
    order: int,
    decimate: int,
) -> np.ndarray:
    """Return the matrix followed by a zero-phase band-pass, and every `decimate`-th row of that.

    Without a band, decimation takes the output's orthonormal cosine transform (DCT-II), keeps what
    lies between `lowest` and sr / (2 decimate) in Hz, and transforms back at the shorter length.
    That map keeps lengths of what it keeps, so that white noise comes out white but for the lowest
    frequencies, where the detectors' curves end and no exact whitening exists; see
    `remove_low_frequencies`.
    """
    if band is not None:
        columns = np.ascontiguousarray(matrix.T, dtype=np.float64)  # (in, out): filter the outputs
        matrix = zero_phase_filter(columns, *band, sr, order).T
    elif decimate > 1:
        from scipy.fft import dct, idct

        # The outputs lie along axis 0. Keeping the first len / decimate cosines and transforming
        # back at that length resamples without aliasing.
        spectrum = dct(np.asarray(matrix, np.float64), axis=0, norm="ortho")  # (frequency, in)
        spectrum[: count_low_frequencies(len(matrix), sr, lowest)] = 0
        return idct(spectrum[: len(matrix) // decimate], axis=0, norm="ortho")
    return matrix[::decimate]


def count_low_frequencies(length: int, sr: float, lowest: float) -> int:
    """Return how many rows of the cosine transform of `length` samples lie below `lowest`, in Hz.

    Row k of a DCT-II of n samples has the frequency k sr / (2 n).
    """
    return math.ceil(2 * length * lowest / sr)


@functools.lru_cache(maxsize=8)
def low_frequency_cosines(length: int, sr: float, lowest: float, device: torch.device) -> Tensor:
    """Return the orthonormal cosines below `lowest`, in Hz, (length, rows) float32."""
    from scipy.fft import idct

    units = np.eye(count_low_frequencies(length, sr, lowest), length)
    rows = idct(units, axis=1, norm="ortho")
    with torch.inference_mode(False):
        return torch.tensor(rows.T, dtype=torch.float32, device=device)


def remove_low_frequencies(x: Tensor, sr: float, lowest: float) -> Tensor:
    """Take from (..., time) what `Whiten(decimate=...)` leaves out below `lowest`, in Hz."""
    # Projection onto the complement: x - x P with P = cosines cosines^T, of orthonormal columns.
    cosines = low_frequency_cosines(x.shape[-1], sr, lowest, x.device)  # (time, low rows)
    with full_precision(x.device.type):
        return x - (x @ cosines) @ cosines.T
