"""Gaps in strain, filled with what the strain around them lets one expect.

A step to zeros, or even a smooth way there, breaks the lines of the spectrum, and a whitening
filter rings for seconds where a line breaks off. So a gap is filled with the values y for which the
whitened strain has the least power. With the strain x outside and the whitening filter W,

    |W (x + y)|^2 = least   gives   (W'W)_gg y = -(W'W x)_g,

g being the samples of the gap. W'W is the inverse of the noise's covariance, so that y is the mean
of Gaussian noise in the gap, given the strain around it, and filters that weigh by the inverse of
the covariance, as matched filters do, give what they would without the samples in the gap
(Zackay et al., Physical Review D 104, 063034, 2021, section III). Nothing in the gap is known after
that; but its neighbours can be used up to its edges. Strain is in units of 1e-21.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.tracked_psds import TrackedPSD
from data.whitening_filter import whitening_taps


def find_runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the first sample of each run of True and the one after its last."""
    padded = np.concatenate([[False], mask, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def fill_gaps(
    x: np.ndarray,
    usable: np.ndarray,
    start: float,
    psds: Sequence[TrackedPSD],
    rate: int,
    part: tuple[int, int] | None = None,
) -> list[tuple[int, int]]:
    """Fill the gaps of strain, in place.

    Of a gap of more than two windows' length, a window's length at either end is filled, which
    leads to the zeros between. So is a gap at an end of the strain.

    Args:
        x: (samples,) in 1e-21; changed where it is not usable.
        usable: (samples,) bool, False in gaps.
        start: GPS time in s of the first sample.
        psds: of all the strain, in order of time.
        rate: Hz.
        part: first sample and the one after the last; only gaps that touch it are filled. None
            fills all.

    Returns:
        The gaps that were filled, each as its first sample and the one after its last.
    """
    n = len(psds[0].power) - 1  # samples in a window
    low, high = part or (0, len(x))
    filled = []
    for first, last in find_runs(~usable):
        if last < low or first > high:
            continue
        x[first:last] = 0
        holes = [(first, last)]
        at_begin, at_end = first == 0, last == len(x)  # nothing to continue on that side
        if last - first > 2 * n or at_begin or at_end:
            holes = [] if at_begin else [(first, min(first + n, last))]
            holes += [] if at_end else [(max(last - n, first), last)]
        for hole in holes:
            middle = start + (hole[0] + hole[1]) / 2 / rate
            psd = next((psd for psd in psds if middle < psd.end), psds[-1])
            fill_hole(x, hole, psd.power, rate)
        filled.append((first, last))
    return filled


def fill_hole(x: np.ndarray, hole: tuple[int, int], power: np.ndarray, rate: int) -> None:
    """Fill a hole in strain as the formula at the top of this file says, in place.

    Args:
        x: (samples,) in 1e-21, zero in the hole; zeros are assumed beyond its ends.
        hole: first sample and the one after the last.
        power: (n + 1,) PSD; see `whitening_taps`.
        rate: Hz.
    """
    from scipy import fft
    from scipy.linalg import solve_toeplitz

    taps = whitening_taps(power, rate)
    n = len(taps) // 2
    first, last = hole
    count, reach = last - first, 2 * n  # W'W is a filter of twice the reach of W
    size = fft.next_fast_len(count + 2 * reach, real=True)
    # The strain around the hole, (count + 2 reach,); with the zeros up to `size`, what wraps around
    # does not reach the hole.
    around = np.zeros(size)
    low, high = max(first - reach, 0), min(last + reach, len(x))
    around[low - first + reach : high - first + reach] = x[low:high]
    series = np.zeros(size)
    series[np.arange(-n, n)] = taps
    gain = fft.rfft(series).real ** 2  # of W'W
    column = fft.irfft(gain, size)[:count]  # W'W at the lags 0, 1, ...
    right = -fft.irfft(fft.rfft(around) * gain, size)[reach : reach + count]
    x[first:last] = solve_toeplitz(column, right)
