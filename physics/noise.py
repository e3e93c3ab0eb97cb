"""Detector noise: design curves, its covariance in a window, exact whitening, Gaussian draws.

Everything is in units of 1e-21 strain (`STRAIN_UNIT`) unless a docstring says otherwise: a PSD of
1e-47 per Hz and its products underflow float32. The curves are tables in `noise_curves/`, so that
neither noise nor whitening needs bilby.

The covariance of n samples of stationary noise is the symmetric Toeplitz matrix C of the
autocovariance, which is the Fourier transform of the PSD (Wiener-Khinchin). Its symmetric inverse
root C^(-1/2) whitens the samples exactly: without a window function, without losing samples at
the edges, to unit variance.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch

from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from physics.constants import DETECTORS, MIN_FREQUENCY, NUM_SAMPLES, SAMPLE_RATE, STRAIN_UNIT
from runtime.console import LOGGER
from runtime.errors import UserError, nearest

# A window is cut out of the middle of a periodic series four times as long. In the competition's
# samples the last value does not join the first, and 8 s reproduces their edges best.
STRETCH_FACTOR = 4
# Noise without power below 10 Hz has a covariance that cannot be inverted. The whitening assumes
# this fraction of the PSD at 10 Hz at all frequencies below.
FLOOR = 1e-3

CURVES = {"H1": "ligo_O4high_asd.csv", "L1": "ligo_O4high_asd.csv", "V1": "virgo_O4high_asd.csv"}


# --- curves ------------------------------------------------------------------------------------


@functools.cache
def read_curve(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of `noise_curves/`: frequencies in Hz and ASD in 1/sqrt(Hz), both (rows,)."""
    path = Path(__file__).parent / "noise_curves" / name
    with open(path) as file:
        rows = [line for line in file if not line.startswith("#")][1:]  # without the header row
    frequencies, amplitudes = np.loadtxt(rows, delimiter=",", unpack=True)
    return frequencies, amplitudes


def asd(detector: str, frequencies: np.ndarray) -> np.ndarray:
    """Return the amplitude spectral density of a detector's noise.

    The PSD is interpolated linearly between the rows of the table, as bilby does. Between 10 Hz
    (`MIN_FREQUENCY`) and the first row it is constant, and below 10 Hz it is zero.

    Args:
        detector: "H1", "L1" or "V1".
        frequencies: any shape, in Hz, at most 1,024, where the tables end.

    Returns:
        One-sided ASD of the same shape, float64, in 1/sqrt(Hz) (not in units of 1e-21).

    Raises:
        UserError: the detector is not known, or a frequency lies above the curve's end.
    """
    if detector not in CURVES:
        raise UserError(
            f"there is no noise curve for the detector {detector!r}{nearest(detector, CURVES)}: "
            f"choose from {', '.join(CURVES)}"
        )
    table, amplitudes = read_curve(CURVES[detector])
    frequencies = np.asarray(frequencies, dtype=np.float64)
    if frequencies.size and frequencies.max() > table[-1]:
        raise UserError(
            f"the noise curve of {detector} ends at {table[-1]:g} Hz and {frequencies.max():g} Hz "
            f"was asked for: use a sampling rate of at most {SAMPLE_RATE} Hz"
        )
    power = np.interp(frequencies, table, (amplitudes / STRAIN_UNIT) ** 2)
    return np.where(frequencies >= MIN_FREQUENCY, np.sqrt(power), 0.0) * STRAIN_UNIT


def psd_on_grid(detector: str, size: int, fs: float, floor: float = 0.0) -> np.ndarray:
    """Return the one-sided PSD at the frequencies of `rfft` of `size` samples.

    Args:
        detector: "H1", "L1" or "V1".
        size: number of samples of the stretch.
        fs: sampling rate in Hz.
        floor: the PSD below 10 Hz as a fraction of its value at 10 Hz.

    Returns:
        (size // 2 + 1,) float64, in (1e-21)^2 / Hz.
    """
    frequencies = np.fft.rfftfreq(size, 1.0 / fs)
    power = (asd(detector, frequencies) / STRAIN_UNIT) ** 2
    at_edge = (asd(detector, np.array(MIN_FREQUENCY)) / STRAIN_UNIT) ** 2
    return np.where(frequencies >= MIN_FREQUENCY, power, floor * at_edge)


# --- covariance and whitening -------------------------------------------------------------------


def autocovariance(
    detector: str, n: int = NUM_SAMPLES, fs: float = SAMPLE_RATE, floor: float = FLOOR
) -> np.ndarray:
    """Return r_k = E[x_t x_(t+k)] of `n` samples of noise cut out of a periodic series of 4 n.

    Wiener-Khinchin: r(k / fs) is the integral of the one-sided PSD S(f) cos(2 pi f k / fs) over f
    from 0 to fs / 2. On the N = 4 n bins f_m = m fs / N of the series that is
    r_k = (fs / N) sum_m S_m cos(2 pi m k / N), with half weight at both ends.

    Args:
        detector: "H1", "L1" or "V1".
        n: number of lags, from 0 to n - 1.
        fs: sampling rate in Hz.
        floor: the PSD below 10 Hz as a fraction of its value at 10 Hz; 0 for the noise itself.

    Returns:
        (n,) float64, in (1e-21)^2.
    """
    size = STRETCH_FACTOR * n  # N
    # irfft(X)_k = (1 / N) (X_0 + 2 sum_m X_m cos(2 pi m k / N) + X_(N/2) (-1)^k), so X = S fs / 2.
    return np.fft.irfft(psd_on_grid(detector, size, fs, floor) * fs / 2, size)[:n]


def toeplitz(first_row: np.ndarray) -> np.ndarray:
    """Return the symmetric Toeplitz matrix (n, n) of its first row (n,)."""
    n = len(first_row)
    lags = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])  # (n, n)
    return first_row[lags]


def symmetric_power(first_row: np.ndarray, power: float) -> np.ndarray:
    """Return C^power of the positive definite symmetric Toeplitz matrix C of `first_row`.

    A symmetric Toeplitz matrix is also symmetric about its other diagonal: C = [[A, B], [J B J,
    J A J]], J being the reversal of n / 2 elements. On vectors (u, -J u) and (u, J u) it acts as
    A - B J and A + B J on u: two blocks of half the size, on orthogonal subspaces (Cantoni and
    Butler, Linear Algebra and its Applications 13, 275, 1976). Any function f of C splits alike.
    With O = f(A - B J) and E = f(A + B J),

        f(C) = [[(E + O) / 2, (E - O) J / 2], [J (E - O) / 2, J (E + O) J / 2]].

    Two eigendecompositions of half the size are a quarter of the work of one of the full size.

    Args:
        first_row: (n,) float64, n even.
        power: e.g. -0.5.

    Returns:
        (n, n) float64.

    Raises:
        ValueError: n is odd, or C is not positive definite.
    """
    n = len(first_row)
    if n % 2:
        raise ValueError(f"the matrix must have an even size, not {n}")
    half = n // 2
    covariance = toeplitz(first_row)
    a, bj = covariance[:half, :half], covariance[:half, half:][:, ::-1]  # A and B J, (n / 2, n / 2)
    blocks = []
    for block in (a - bj, a + bj):
        values, vectors = np.linalg.eigh(block)
        if values[0] <= 0:
            raise ValueError(f"the covariance is not positive definite: eigenvalue {values[0]:g}")
        # V L^p V^T = (V L^(p/2)) (V L^(p/2))^T, which is exactly symmetric in floating point.
        root = vectors * values ** (power / 2)
        blocks.append(root @ root.T)
    odd, even = blocks
    top = np.concatenate([(odd + even) / 2, (even - odd)[:, ::-1] / 2], axis=1)  # (n / 2, n)
    # The lower half is the upper one turned by 180 degrees.
    return np.concatenate([top, top[::-1, ::-1]])  # (n, n)


def whitening_matrix(
    detector: str, n: int = NUM_SAMPLES, fs: float = SAMPLE_RATE, cache_dir: Path | None = None
) -> np.ndarray:
    """Return C^(-1/2), which turns n samples of a detector's noise into unit white noise.

    Apply it to strain / 1e-21, in float32 or better and never in TF32: `white = W @ (x / 1e-21)`.
    It is symmetric, so a batch (rows, n) is whitened by `x @ W`. It is computed in float64 once
    for each curve (some seconds) and kept on disk; H1 and L1 share one.

    Args:
        detector: "H1", "L1" or "V1".
        n: number of samples, even.
        fs: sampling rate in Hz, at most 2,048.
        cache_dir: where to keep it; default `cache_folder()`.

    Returns:
        (n, n) float32, in 1 / (1e-21 strain).

    Raises:
        UserError: the detector is not known, the rate is too high, or n is odd.
    """
    if n < 2 or n % 2:
        raise UserError(f"a whitening matrix needs an even number of samples and n is {n}")
    lags = autocovariance(detector, n, fs)
    # The matrix is a function of these numbers alone, so they are its key.
    digest = hashlib.blake2b(lags.tobytes(), digest_size=8).hexdigest()
    name = f"whitening-{Path(CURVES[detector]).stem}-{n}-{digest}.npy"
    path = (cache_dir or cache_folder()) / name
    try:
        matrix = np.load(path, allow_pickle=False)
        if matrix.shape == (n, n) and matrix.dtype == np.float32:
            return matrix
        LOGGER.warning("%s is not a matrix of this size and is computed again", path)
    except FileNotFoundError:
        pass
    except (ValueError, EOFError) as error:
        LOGGER.warning("%s cannot be read (%s) and is computed again", path, error)
    matrix = symmetric_power(lags, -0.5).astype(np.float32)
    try:
        remove_abandoned(path.parent)
        with kept_path(path) as temporary:
            np.save(temporary, matrix, allow_pickle=False)
    except OSError as error:
        LOGGER.warning("the whitening matrix cannot be kept in %s (%s)", path.parent, error)
    return matrix


# --- noise --------------------------------------------------------------------------------------


class NoiseGenerator:
    """Stationary Gaussian noise of the three detectors, independent of one another.

    A series four times as long as wanted (8 s) is drawn in the frequency domain, where its bins
    are independent, and its middle is kept (Timmer and Koenig, Astronomy and Astrophysics 300,
    707, 1995). The covariance of what is kept is `toeplitz(autocovariance(..., floor=0))`.

    Args:
        device: where to draw.
        n: number of samples.
        fs: sampling rate in Hz.
    """

    def __init__(
        self, device: torch.device | str = "cpu", n: int = NUM_SAMPLES, fs: float = SAMPLE_RATE
    ) -> None:
        self.n, self.size, self.device = n, STRETCH_FACTOR * n, torch.device(device)
        power = np.stack([psd_on_grid(name, self.size, fs) for name in DETECTORS])
        # A bin of N samples has E|X|^2 = S fs N / 2, which its real and imaginary part share. The
        # last bin, at the Nyquist frequency, is real: irfft ignores its imaginary part, so the
        # real part has all of it.
        amplitude = np.sqrt(power * fs * self.size / 4)  # (detector, frequency)
        amplitude[:, -1] *= np.sqrt(2)
        self.amplitude = torch.tensor(amplitude[..., None], dtype=torch.float32, device=device)

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return (count, detector, n) float32 strain.

        Args:
            count: how many.
            generator: on the generator's own device; default torch's own.
        """
        detectors, bins, _ = self.amplitude.shape
        spectrum = torch.randn(
            (count, detectors, bins, 2), generator=generator, device=self.device
        ).mul_(self.amplitude)
        stretch = torch.fft.irfft(torch.view_as_complex(spectrum), self.size)  # (.., 4 n)
        start = (self.size - self.n) // 2
        # In units of 1e-21 up to here: float32 holds a strain of 1e-24, but not its square.
        return stretch[..., start : start + self.n] * STRAIN_UNIT
