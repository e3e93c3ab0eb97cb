"""Clustering of triggers in time: of all within some seconds only the loudest remains.

A merger, and a glitch too, raises the statistic at many times and in many templates around it.
"""

from __future__ import annotations

import numpy as np


def find_loudest_within(time: np.ndarray, score: np.ndarray, seconds: float) -> np.ndarray:
    """Return the rows whose score no other within some seconds exceeds.

    PyCBC clusters its coincident events in the same way, by a maximum over a sliding window.

    Args:
        time: (n,) ascending, s.
        score: (n,).
        seconds: to either side.

    Returns:
        (kept,) int64, ascending. Of equal scores within the window the first is kept.
    """
    count = len(time)
    if count == 0:
        return np.empty(0, np.int64)
    low = np.searchsorted(time, time - seconds, "left")
    high = np.searchsorted(time, time + seconds, "right")
    # position of the first of the highest scores in [low, high): ties go to the first
    first = first_maxima(np.asarray(score, np.float64), low, high)
    return np.flatnonzero(first == np.arange(count))


def first_maxima(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the position of the first maximum of values[low:high], for many such ranges.

    A sparse table holds the maxima of all ranges of 1, 2, 4, ... values; any range is the union of
    two of these.

    Args:
        values: (n,).
        low, high: (m,) int; low < high.

    Returns:
        (m,) int64.
    """
    # A stable sort gives each value a rank; the first of equal values gets the highest.
    order = np.argsort(-values, kind="stable")
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))  # 0 for the loudest
    level = np.log2(high - low).astype(np.int64)  # the largest 2^level <= high - low
    best = np.empty(len(low), np.int64)
    lowest_rank = rank.copy()  # of the ranges of 2^k values that begin at each position
    for k in range(int(level.max()) + 1):
        here = level == k
        left, right = low[here], high[here] - 2**k
        best[here] = np.minimum(lowest_rank[left], lowest_rank[right])
        # ranges of twice the length; those that reach beyond the end are never looked at
        lowest_rank[: -(2**k)] = np.minimum(lowest_rank[: -(2**k)], lowest_rank[2**k :])
    return order[best]
