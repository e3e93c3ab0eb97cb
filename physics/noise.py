"""Detector noise: its covariance in a window, exact whitening, Gaussian draws.

Everything is in units of 1e-21 strain (`STRAIN_UNIT`) unless a docstring says otherwise: a PSD of
1e-47 per Hz and its products underflow float32.

The covariance of n samples of stationary noise is the symmetric Toeplitz matrix C of the
autocovariance, which is the Fourier transform of the PSD (Wiener-Khinchin). Its symmetric inverse
root C^(-1/2) whitens the samples exactly: without a window function, without losing samples at
the edges, to unit variance.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from physics.constants import STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.observation import COMPETITION, Observation
from runtime.console import LOGGER
from runtime.errors import UserError

# A window is cut out of the middle of a periodic series four times as long. In the competition's
# samples the last value does not join the first, and 8 s reproduces their edges best.
STRETCH_FACTOR = 4
# Noise without power below its lowest frequency has a covariance that cannot be inverted. The
# whitening assumes this fraction of the PSD at that frequency at all frequencies below.
FLOOR = 1e-3
# Samples of the longest window that is whitened by a matrix: 256 MiB for each curve in float32, and
# a minute or more to compute. Twice the window takes four and eight times as much.
LARGEST_MATRIX = 8192

# --- covariance and whitening -------------------------------------------------------------------


def autocovariance(noise: DetectorNoise, n: int, floor: float = FLOOR) -> np.ndarray:
    """Return r_k = E[x_t x_(t+k)] of `n` samples of noise cut out of a periodic series of 4 n.

    Wiener-Khinchin: r(k / fs) is the integral of the one-sided PSD S(f) cos(2 pi f k / fs) over f
    from 0 to fs / 2. On the N = 4 n bins f_m = m fs / N of the series that is
    r_k = (fs / N) sum_m S_m cos(2 pi m k / N), with half weight at both ends.

    Args:
        noise: of the detector.
        n: number of lags, from 0 to n - 1.
        floor: the PSD below the lowest frequency as a fraction of its value there; 0 for the noise
            itself.

    Returns:
        (n,) float64, in (1e-21)^2.
    """
    size = STRETCH_FACTOR * n  # N
    # irfft(X)_k = (1 / N) (X_0 + 2 sum_m X_m cos(2 pi m k / N) + X_(N/2) (-1)^k), so X = S fs / 2.
    return np.fft.irfft(noise.psd_on_grid(size, floor) * noise.sample_rate / 2, size)[:n]


def check_matrix_size(n: int) -> None:
    """Check that a window is short enough to be whitened by a matrix.

    Args:
        n: samples of the window.

    Raises:
        UserError: it is longer than `LARGEST_MATRIX`.
    """
    if n > LARGEST_MATRIX:
        raise UserError(
            f"the exact whitening of {n:,} samples needs a matrix of {4 * n**2 / 2**30:.1f} GiB "
            f"for each curve; windows of more than {LARGEST_MATRIX:,} samples are refused: put "
            f"WhitenTorch in the place of Whiten (--set transforms.train.0=WhitenTorch "
            f"transforms.test.0=WhitenTorch), or choose a shorter observation.window or a lower "
            f"observation.sample_rate"
        )


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
        UserError: n is larger than `LARGEST_MATRIX`.
        ValueError: n is odd, or C is not positive definite.
    """
    n = len(first_row)
    check_matrix_size(n)
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


def whitening_matrix(noise: DetectorNoise, n: int, cache_dir: Path | None = None) -> np.ndarray:
    """Return C^(-1/2), which turns n samples of a detector's noise into unit white noise.

    Apply it to strain / 1e-21, in float32 or better and never in TF32: `white = W @ (x / 1e-21)`.
    It is symmetric, so a batch (rows, n) is whitened by `x @ W`. It is computed in float64 once
    for each curve (some seconds) and kept on disk; detectors of one curve share it.

    Args:
        noise: of the detector; of a family of curves, that of their geometric mean.
        n: number of samples, even.
        cache_dir: where to keep it; default `cache_folder()`.

    Returns:
        (n, n) float32, in 1 / (1e-21 strain).

    Raises:
        UserError: the curve ends below half the sampling rate, or n is odd or larger than
            `LARGEST_MATRIX`.
    """
    check_matrix_size(n)
    if n < 2 or n % 2:
        raise UserError(f"a whitening matrix needs an even number of samples and n is {n}")
    lags = autocovariance(noise, n)
    # The matrix is a function of these numbers alone, so they are its key.
    path = (cache_dir or cache_folder()) / kept_name(noise, n, lags.tobytes())
    return keep_matrix(path, (n, n), lambda: symmetric_power(lags, -0.5).astype(np.float32))


def kept_name(noise: DetectorNoise, n: int, key: bytes) -> str:
    """Return the name of the file of a matrix that is kept.

    Args:
        noise: of the detector.
        n: samples of a window.
        key: what decides the matrix.
    """
    digest = hashlib.blake2b(key, digest_size=8).hexdigest()
    return f"whitening-{Path(noise.curve.name).stem}_asd-{n}-{digest}.npy"


def keep_matrix(
    path: Path, shape: tuple[int, int], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return a float32 matrix of that shape: read from the file, or computed and kept there."""
    kept = read_kept_matrix(path, shape)
    if kept is not None:
        return kept
    matrix = compute()
    # Another process may have computed it meanwhile, with other numbers of threads, and so with
    # other last digits. All take the one that was kept first: results must not depend on that.
    kept = read_kept_matrix(path, shape)
    if kept is not None:
        return kept
    try:
        remove_abandoned(path.parent)
        with kept_path(path) as temporary:
            np.save(temporary, matrix, allow_pickle=False)
    except OSError as error:
        LOGGER.warning("%s cannot be kept in %s (%s)", path.name, path.parent, error)
    return matrix


def read_kept_matrix(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Return a float32 matrix of that shape that was kept; None where there is no sound one."""
    try:
        matrix = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as error:
        LOGGER.warning("%s cannot be read (%s) and is computed again", path, error)
        return None
    if matrix.shape == shape and matrix.dtype == np.float32:
        return matrix
    LOGGER.warning("%s is not a matrix of this size and is computed again", path)
    return None


# --- noise --------------------------------------------------------------------------------------


class NoiseGenerator:
    """Stationary Gaussian noise of all detectors, independent of one another.

    A series four times as long as a window is drawn in the frequency domain, where its bins
    are independent, and its middle is kept (Timmer and Koenig, Astronomy and Astrophysics 300,
    707, 1995). The covariance of what is kept is `toeplitz(autocovariance(..., floor=0))`.

    Where the curve of a detector is a family, each sample draws a member of it for that detector,
    independently of the other detectors and all equally likely.

    Args:
        device: where to draw.
        observation: detectors, sampling, window and curves.

    Attributes:
        curves: the curves of all detectors one after the other, each family by its members.
        has_families: whether any detector has more than one curve.
    """

    def __init__(
        self, device: torch.device | str = "cpu", observation: Observation = COMPETITION
    ) -> None:
        self.n, fs = observation.num_samples, observation.sample_rate
        self.size, self.device = STRETCH_FACTOR * self.n, torch.device(device)
        self.num_detectors = observation.num_detectors
        families = [curves_of(observation.noise(d)) for d in range(self.num_detectors)]
        self.curves = [noise for family in families for noise in family]
        counts = np.array([len(family) for family in families])  # (detector,)
        self.has_families = bool((counts > 1).any())
        self.counts = torch.tensor(counts, device=device)
        # The curves of detector d are numbers first[d] to first[d] + counts[d] - 1.
        self.first = torch.tensor(counts.cumsum() - counts, device=device)
        power = np.stack([noise.psd_on_grid(self.size) for noise in self.curves])
        # A bin of N samples has E|X|^2 = S fs N / 2, which its real and imaginary part share. The
        # last bin, at the Nyquist frequency, is real: irfft ignores its imaginary part, so the
        # real part has all of it.
        amplitude = np.sqrt(power * fs * self.size / 4)  # (curve, frequency)
        amplitude[:, -1] *= np.sqrt(2)
        self.amplitude = torch.tensor(amplitude[..., None], dtype=torch.float32, device=device)

    def draw_members(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw a curve for each sample and detector, out of the detector's own.

        Returns:
            (count, detector) numbers in `curves`.
        """
        shape = (count, self.num_detectors)
        uniform = torch.rand(shape, generator=generator, device=self.device)
        # Rounding could lift the largest uniform number to the next whole one.
        return self.first + (uniform * self.counts).long().minimum(self.counts - 1)

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        members: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (count, detector, n) float32 strain.

        Args:
            count: how many.
            generator: on the generator's own device; default torch's own.
            members: (count, detector) numbers in `curves`; default as `draw_members` draws them.
        """
        if members is None and self.has_families:
            members = self.draw_members(count, generator)
        _, bins, _ = self.amplitude.shape
        spectrum = torch.randn(
            (count, self.num_detectors, bins, 2), generator=generator, device=self.device
        )
        # (count, detector, frequency, 1) of the members, or (detector, frequency, 1)
        amplitude = self.amplitude if members is None else self.amplitude[members]
        spectrum.mul_(amplitude)
        stretch = torch.fft.irfft(torch.view_as_complex(spectrum), self.size)  # (.., 4 n)
        start = (self.size - self.n) // 2
        # In units of 1e-21 up to here: float32 holds a strain of 1e-24, but not its square.
        return stretch[..., start : start + self.n] * STRAIN_UNIT


def curves_of(noise: DetectorNoise) -> tuple[DetectorNoise, ...]:
    """Return the noise of each member of a family, or a single curve's alone."""
    members = noise.curve.members or (noise.curve,)
    return tuple(dataclasses.replace(noise, curve=member) for member in members)
