"""Lists of GPS segments: sorted (start, end) in s that neither touch nor overlap."""

from __future__ import annotations

from collections.abc import Iterable

TimeSegments = list[tuple[float, float]]  # (start, end), GPS in s


def merge_segments(*lists: Iterable[tuple[float, float]]) -> TimeSegments:
    """Return the union of segments, which may overlap and be in any order; empty ones are dropped.

    Args:
        lists: one iterable of (start, end) or several.
    """
    merged: TimeSegments = []
    for start, end in sorted(segment for segments in lists for segment in segments):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def intersect_segments(first: TimeSegments, second: TimeSegments) -> TimeSegments:
    """Return the times that lie in both of two sorted lists."""
    common: TimeSegments = []
    i = j = 0
    while i < len(first) and j < len(second):
        start = max(first[i][0], second[j][0])
        end = min(first[i][1], second[j][1])
        if start < end:
            common.append((start, end))
        # The segment that ends first cannot meet another one.
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return common


def subtract_segments(segments: TimeSegments, removed: TimeSegments) -> TimeSegments:
    """Return the times of one sorted list that lie in none of another."""
    left: TimeSegments = []
    j = 0
    for start, end in segments:
        # What ends before this segment ends before all later ones.
        while j < len(removed) and removed[j][1] <= start:
            j += 1
        k = j
        while k < len(removed) and removed[k][0] < end:
            if removed[k][0] > start:
                left.append((start, removed[k][0]))
            start = max(start, removed[k][1])
            k += 1
        if start < end:
            left.append((start, end))
    return left


def total_seconds(segments: Iterable[tuple[float, float]]) -> float:
    """Return the sum of the lengths of segments, s."""
    return float(sum(end - start for start, end in segments))
