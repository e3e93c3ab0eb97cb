"""Gaps in strain, filled with what Gaussian noise of the same PSD would most likely have there.

A whitening filter spreads every step. Zeros in a gap are steps: strain has lines that are some
thousand times louder than the noise beside them, and a gap rings over a second with hundreds of
standard deviations. The conditional expectation of the noise continues every line.

For noise of covariance C and K = C^(-1), the density of the samples g in a gap, given the others o,
is proportional to exp(-x^T K x / 2), whose largest value lies at

    K_gg x_g = -K_go x_o,

(Zackay, Venumadhav, Roulet, Dai and Zaldarriaga, Physical Review D 104, 063034, 2021). Far from the
ends of a series K is a convolution: with the whitening filter w, K = w * w. Then K_gg is a Toeplitz
matrix, of which only products with vectors are needed, n log n each: the equation is solved by
conjugate gradients, with the covariance C_gg, which is nearly its inverse, as the preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TOLERANCE = 1e-6  # of the residual's norm, as a fraction of that without a gap filled
MOST_STEPS = 300


def find_runs(mask: np.ndarray) -> np.ndarray:
    """Return the runs of True in a mask (n,), as (runs, 2): the first sample and the one after."""
    edges = np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def toeplitz_product(first_row: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the product with a symmetric Toeplitz matrix (g, g), given its first row."""
    from scipy.fft import next_fast_len

    g = len(first_row)
    size = next_fast_len(2 * g, real=True)
    # A circulant matrix of twice the size that holds the Toeplitz matrix in its corner.
    circulant = np.zeros(size)
    circulant[:g] = first_row
    circulant[size - g + 1 :] = first_row[:0:-1]
    spectrum = np.fft.rfft(circulant).real
    return lambda x: np.fft.irfft(np.fft.rfft(x, size) * spectrum, size)[:g]


def solve_by_conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
) -> np.ndarray:
    """Return x with product(x) = right, for a positive definite product.

    Args:
        product: (g,) -> (g,).
        precondition: nearly its inverse, positive definite as well.
        right: (g,) float64.
    """
    x, residual = np.zeros_like(right), right.copy()
    direction = precondition(residual)
    size = first = residual @ direction
    for _ in range(MOST_STEPS):
        if size <= TOLERANCE**2 * first:
            break
        image = product(direction)
        step = size / (direction @ image)
        x += step * direction
        residual -= step * image
        conditioned = precondition(residual)
        before, size = size, residual @ conditioned
        direction = conditioned + (size / before) * direction
    return x


class GapFiller:
    """Fills gaps in noise of one PSD.

    Args:
        taps: (2 n,) of the noise's whitening filter at the lags -n to n - 1, without decimation and
            with all frequencies; see `whitening_taps`.
    """

    def __init__(self, taps: np.ndarray) -> None:
        self.n = len(taps) // 2
        # K = w * w at the lags 0 to 2 n; 8 n samples hold it without wrapping around.
        size = 8 * self.n
        lags = np.arange(-self.n, self.n)
        series = np.zeros(size)
        series[lags] = taps
        self.inverse = np.fft.irfft(np.abs(np.fft.rfft(series)) ** 2, size)[: 2 * self.n + 1]
        # C = 1 / K, in a ring of two windows
        ring = np.concatenate([self.inverse[: self.n + 1], self.inverse[self.n - 1 : 0 : -1]])
        power = np.fft.rfft(ring).real
        power = np.maximum(power, 1e-9 * power.max())
        self.covariance = np.fft.irfft(1 / power, 2 * self.n)[: self.n]

    def fill(self, x: np.ndarray, gap: tuple[int, int]) -> None:
        """Fill samples `gap[0]` to `gap[1]` - 1 of a series in place, at most n of them.

        What lies beyond the series counts as zeros.

        Args:
            x: (samples,) float64.
            gap: its first sample and the one after its last.
        """
        low, high = gap
        reach, g = 2 * self.n, high - low
        begin, end = max(low - reach, 0), min(high + reach, len(x))
        around = x[begin:end].copy()
        around[low - begin : high - begin] = 0
        if not around.any():
            return  # nothing is known on either side
        # K_go x_o: the convolution of what lies around with K, read in the gap.
        size = 1 << (len(around) + 2 * reach).bit_length()
        kernel = np.zeros(size)
        kernel[: reach + 1] = self.inverse
        kernel[size - reach :] = self.inverse[:0:-1]
        spectrum = np.fft.rfft(around, size) * np.fft.rfft(kernel).real
        known = np.fft.irfft(spectrum, size)[low - begin : high - begin]
        x[low:high] = solve_by_conjugate_gradients(
            toeplitz_product(self.inverse[:g]), toeplitz_product(self.covariance[:g]), -known
        )


def fill_gaps(x: np.ndarray, missing: np.ndarray, filler: GapFiller) -> None:
    """Fill all gaps of a series in place.

    A gap of more than two windows is filled for one window at either end, with zeros between.

    Args:
        x: (samples,) float64.
        missing: (samples,) bool.
        filler: of the series' noise.
    """
    n = filler.n
    x[missing] = 0
    for low, high in find_runs(missing).tolist():
        if high - low <= n:
            parts = [(low, high)]
        else:
            # Longer gaps are filled from both ends: what joins in the middle is far from either.
            middle = (low + high) // 2
            parts = [(low, min(low + n, middle)), (max(high - n, middle), high)]
        for part in parts:
            filler.fill(x, part)
