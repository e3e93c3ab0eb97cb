"""Band-pass filters as linear operators, computed once and applied to whole batches.

A zero-phase filter F of n samples is one fixed linear map, y = F x. Away from the edges it is a
convolution with an impulse response h, that is a symmetric Toeplitz matrix T, which the FFT
applies. The edges differ (odd extension, initial states, end of the forward pass), but F - T has a
rank of some tens only. So F = T + R L with thin matrices R and L. Both parts are found in float64
from scipy's own output and applied in float64, so that the operator equals scipy's filter to
float32 precision and is several times faster, on a CPU or a GPU.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from runtime.console import LOGGER
from runtime.errors import UserError

FORMAT = 1  # of kept band-passes; raise it when the same settings would give other arrays
ROWS_IN_CACHE = 24  # of 4,096 samples; their spectra together fit a cache of some MiB
TOLERANCE = 1e-9  # of a filter's peak gain, or of a response; float32 resolves 6e-8


# --- the Butterworth filter ----------------------------------------------------------------------


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


def zero_phase_gain(
    frequencies: np.ndarray, lower: float, upper: float, sr: float, order: int
) -> np.ndarray:
    """Return the gain of `zero_phase_filter` away from the edges of a series.

    The filter's spectrum is H; a pass forwards and one backwards multiply by H and by its
    conjugate.

    Args:
        frequencies: (k,) in Hz.
        lower, upper, sr, order: as in `zero_phase_filter`.

    Returns:
        (k,) float64, |H|^2.
    """
    from scipy import signal

    sections = signal.butter(order, (lower, upper), "bandpass", fs=sr, output="sos")
    # worN are the frequencies; scipy renamed the function, and this name works in old and new ones.
    return np.abs(signal.sosfreqz(sections, worN=frequencies, fs=sr)[1]) ** 2


def by_parts(rows: Tensor, convolve: Callable[[Tensor], Tensor]) -> Tensor:
    """Convolve (rows, time); on a CPU, a few rows at a time.

    Spectra of the whole batch would leave the CPU's cache. Not in an exported graph, which would
    hold the number of parts and so of samples.
    """
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return convolve(rows)
    parts = [convolve(part) for part in rows.split(ROWS_IN_CACHE)]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


class EdgedConvolution(NamedTuple):
    """F = T + R L of the module's docstring: a convolution and a low-rank correction at the edges.

    For a row x: y = crop(irfft(rfft(x, size) * spectrum)) + (x @ right) @ left. Rows are multiplied
    from the left, so `right` and `left` hold the transposed factors.
    """

    spectrum: Tensor  # (size // 2 + 1,) float64, real: the impulse response is symmetric
    right: Tensor  # (length, rank) float64
    left: Tensor  # (rank, length) float64
    size: int

    def __call__(self, x: Tensor) -> Tensor:
        """Filter (..., length); the result is float32."""
        length = self.left.shape[-1]
        rows = x.reshape(-1, length).float()  # (rows, length)
        with torch.autocast(x.device.type, enabled=False):
            rows = rows.double()  # see `convolve`; a float32 product may be rounded to TF32 as well
            y = (rows @ self.right) @ self.left  # (rows, length); with a rank of some tens, cheap
            y = y + by_parts(rows, self.convolve)
        return y.float().reshape(x.shape)

    def convolve(self, rows: Tensor) -> Tensor:
        """Return the convolution of (rows, length) in float64.

        In float32 torch's Fourier transforms are 1.0e-6 of detector noise off (root mean square),
        onnxruntime's 2.6e-6, as most of the noise is below the band; networks enlarge that, and a
        run and its exported graph would differ by more than 1e-4 in a logit. In float64 it is 5e-8.
        """
        spectrum = torch.fft.rfft(rows, self.size)  # (rows, size // 2 + 1)
        return torch.fft.irfft(spectrum * self.spectrum, self.size)[:, : rows.shape[-1]]


BandPassArrays = tuple[np.ndarray, np.ndarray, np.ndarray, int]


@functools.lru_cache(maxsize=16)
def band_pass_arrays(
    length: int, lower: float, upper: float, sr: float, order: int
) -> BandPassArrays:
    """Return what `compute_band_pass` computes; kept on disk, it takes milliseconds.

    All processes take what was kept first: with other numbers of threads the last digits differ,
    and results must not depend on that.
    """
    settings = (FORMAT, length, float(lower), float(upper), float(sr), order)
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()
    path = cache_folder() / f"band-pass-{lower:g}-{upper:g}-{length}-{digest}.npy"
    kept = read_band_pass(path, length)
    if kept is not None:
        return kept
    computed = compute_band_pass(length, lower, upper, sr, order)
    kept = read_band_pass(path, length)  # another process may have computed it meanwhile
    if kept is not None:
        return kept
    try:
        remove_abandoned(path.parent)
        with kept_path(path) as temporary:
            np.save(temporary, pack_band_pass(computed), allow_pickle=False)
    except OSError as error:
        LOGGER.warning("the band-pass cannot be kept in %s (%s)", path.parent, error)
    return computed


def pack_band_pass(arrays: BandPassArrays) -> np.ndarray:
    """Return the arrays of a band-pass as one, (2 rank + 1, size // 2 + 2) float64.

    The spectrum and the size, then the columns of `right`, then the rows of `left`, and zeros after
    each of these.
    """
    spectrum, right, left, size = arrays
    packed = np.zeros((1 + 2 * len(left), len(spectrum) + 1))
    packed[0, :-1], packed[0, -1] = spectrum, size
    packed[1 : 1 + len(left), : len(right)] = right.T
    packed[1 + len(left) :, : left.shape[1]] = left
    return packed


def read_band_pass(path: Path, length: int) -> BandPassArrays | None:
    """Return the arrays of a band-pass that were kept; None where there are no sound ones."""
    try:
        packed = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as error:
        LOGGER.warning("%s cannot be read (%s) and is computed again", path, error)
        return None
    is_sound = packed.ndim == 2 and packed.dtype == np.float64 and len(packed) % 2 == 1
    if is_sound and packed.shape[1] > length + 1 and np.isfinite(packed).all():
        size, rank = int(packed[0, -1]), len(packed) // 2
        if size // 2 + 2 == packed.shape[1]:
            # Copies in one block of memory each, as they are computed.
            right = np.ascontiguousarray(packed[1 : 1 + rank, :length].T)
            left = np.ascontiguousarray(packed[1 + rank :, :length])
            return packed[0, :-1].copy(), right, left, size
    LOGGER.warning("%s is no band-pass of %d samples and is computed again", path, length)
    return None


def compute_band_pass(
    length: int, lower: float, upper: float, sr: float, order: int
) -> BandPassArrays:
    """Return spectrum, right, left and size of `EdgedConvolution` for a zero-phase band-pass.

    The correction E = F - T is scipy's map minus the convolution. Its rank is at most twice the
    length of the extension plus the filter's states, so the images of that many random vectors
    span its range (Halko, Martinsson and Tropp, SIAM Review 53, 217, 2011). With an orthonormal
    basis Q of that range, E = Q Q^T E. A singular value decomposition then drops the directions
    below `TOLERANCE`. Takes seconds for 4,096 samples, once for each user.

    Returns:
        spectrum (size // 2 + 1,), right (length, rank), left (rank, length), size; float64.
    """
    from scipy.fft import next_fast_len

    band = (lower, upper, sr, order)
    # h at lags 0 .. length - 1: the response to an impulse so far from both ends that they do not
    # matter. It is symmetric, because the second pass runs backwards.
    impulse = np.zeros(8 * length + 1)
    impulse[4 * length] = 1.0
    lags = zero_phase_filter(impulse, *band)[4 * length : 5 * length]
    size = next_fast_len(2 * length, real=True)
    # A circulant matrix of size >= 2 length - 1 holds T as a block, and the FFT diagonalises it:
    # its first column is h[0], h[1], ..., zeros, ..., h[2], h[1].
    circulant = np.zeros(size)
    circulant[:length] = lags
    circulant[size - length + 1 :] = lags[:0:-1]
    spectrum = np.fft.rfft(circulant).real  # real, since the column is symmetric

    def convolve(rows: np.ndarray) -> np.ndarray:
        return np.fft.irfft(np.fft.rfft(rows, size) * spectrum, size)[:, :length]

    width = min(length, 2 * 3 * (2 * order + 1) + 6 * order + 8)
    # E times random vectors; rows of `answers` are (F - T) applied to rows of `probes`.
    probes = np.random.default_rng(0).standard_normal((width, length))
    answers = zero_phase_filter(probes, *band) - convolve(probes)  # (width, length)
    basis = np.linalg.qr(answers.T)[0]  # Q (length, width)
    # E^T Q = F^T Q - T Q, since T is symmetric. F^T is not at hand, but row i of F^T is F applied
    # to the unit vector e_i: F^T Q is gathered from the filtered unit vectors, some at a time.
    right = -convolve(basis.T).T  # -T Q (length, width)
    step = max(1, 2**21 // length)  # unit vectors a time, 16 MiB of them
    for start in range(0, length, step):
        units = np.eye(min(step, length - start), length, start)
        right[start : start + step] += zero_phase_filter(units, *band) @ basis
    # E^T Q = U S V^T, so for a row x: x E^T = x (E^T Q) Q^T = (x U S) (V^T Q^T)
    vectors, values, mixing = np.linalg.svd(right, full_matrices=False)
    keep = values > TOLERANCE
    return spectrum, vectors[:, keep] * values[keep], mixing[keep] @ basis.T, size


@functools.lru_cache(maxsize=32)
def band_pass_operator(
    length: int, lower: float, upper: float, sr: float, order: int, device: torch.device
) -> EdgedConvolution:
    """Return the zero-phase Butterworth band-pass of `length` samples on a device, made once."""
    spectrum, right, left, size = band_pass_arrays(length, lower, upper, sr, order)
    # A tensor made in inference mode could not serve a training step later.
    with torch.inference_mode(False):
        return EdgedConvolution(
            torch.tensor(spectrum, device=device),
            torch.tensor(right, device=device),
            torch.tensor(left, device=device),
            size,
        )


class CausalConvolution(NamedTuple):
    """A causal convolution with an impulse response, by a Fourier transform that holds both."""

    spectrum: Tensor  # (size // 2 + 1,) complex128; see `EdgedConvolution.convolve`
    size: int  # at least the waveform and the response, so that nothing wraps around
    exported_spectrum: Tensor  # the same for the size in an exported graph
    exported_size: (
        int  # a power of two: onnxruntime takes five times as long for 4,500 as for 8,192
    )

    def __call__(self, x: Tensor) -> Tensor:
        """Filter (..., time); the result is float32."""
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, x.shape[-1])  # (rows, time)
            return by_parts(rows, self.convolve).float().reshape(x.shape)

    def convolve(self, rows: Tensor) -> Tensor:
        """Return the convolution of (rows, time) in float64."""
        spectrum, size = self.spectrum, self.size
        if torch.compiler.is_compiling():
            spectrum, size = self.exported_spectrum, self.exported_size
        product = torch.fft.rfft(rows.double(), size) * spectrum  # (rows, size // 2 + 1)
        return torch.fft.irfft(product, size)[:, : rows.shape[-1]]


@functools.lru_cache(maxsize=16)
def biquad_operator(
    length: int, lower: float, upper: float, sr: float, device: torch.device
) -> CausalConvolution:
    """Return the band-pass section of `BandPassTorch` for `length` samples on a device.

    Its transfer function is H(z) = alpha (1 - z^-2) / ((1 + alpha) - 2 cos(w0) z^-1 + (1 - alpha)
    z^-2) with w0 = 2 pi f0 / sr, alpha = sin(w0) / (2 Q), Q = f0 / (upper - lower) and
    f0 = sqrt(lower upper) (Bristow-Johnson, Audio EQ Cookbook, BPF with 0 dB peak gain). At rest
    before the first sample, the recursion equals a convolution with its first `length` responses,
    of which those that together are below `TOLERANCE` of all are left out. Of 4,096 for a band of
    16 to 512 Hz some 400 remain, and the Fourier transforms are little longer than the waveform.
    """
    from scipy import signal
    from scipy.fft import next_fast_len

    centre = math.sqrt(lower * upper)
    angle = 2 * math.pi * centre / sr
    alpha = math.sin(angle) * (upper - lower) / (2 * centre)  # sin(w0) / (2 Q)
    # both divided by the denominator's first coefficient, 1 + alpha
    numerator = np.array([alpha, 0.0, -alpha]) / (1 + alpha)
    denominator = np.array([1 + alpha, -2 * math.cos(angle), 1 - alpha]) / (1 + alpha)
    impulse = np.zeros(length)
    impulse[0] = 1.0
    response = signal.lfilter(numerator, denominator, impulse)
    # What all responses from each one on can add to a waveform of peak 1; it falls with the index.
    rest = np.abs(response)[::-1].cumsum()[::-1]
    response = response[rest > TOLERANCE * rest[0]]
    needed = length + len(response)
    sizes = (next_fast_len(needed, real=True), 2 ** math.ceil(math.log2(needed)))
    with torch.inference_mode(False):
        plain, exported = (
            torch.tensor(np.fft.rfft(response, size), device=device) for size in sizes
        )
    return CausalConvolution(plain, sizes[0], exported, sizes[1])
