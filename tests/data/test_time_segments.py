"""Union, intersection and difference of lists of segments, against sets of whole seconds."""

from __future__ import annotations

import itertools
import random

from data.time_segments import intersect_segments, merge_segments, subtract_segments, total_seconds


def seconds_of(segments) -> set[int]:
    return {second for start, end in segments for second in range(start, end)}


def test_they_are_those_of_sets_of_seconds() -> None:
    draw = random.Random(5)
    for _ in range(300):
        one, two = (
            [
                (start, start + draw.randint(0, 5))
                for start in (draw.randint(0, 40) for _ in range(draw.randint(0, 6)))
            ]
            for _ in range(2)
        )
        first, second = merge_segments(one), merge_segments(two)
        assert seconds_of(first) == seconds_of(one)
        assert total_seconds(first) == len(seconds_of(one))
        union = merge_segments(one, two)
        common, left = intersect_segments(first, second), subtract_segments(first, second)
        assert seconds_of(union) == seconds_of(one) | seconds_of(two)
        assert seconds_of(common) == seconds_of(one) & seconds_of(two)
        assert seconds_of(left) == seconds_of(one) - seconds_of(two)
        for segments in (first, union, common, left):
            assert all(start < end for start, end in segments)
            # Sorted, and apart from one another.
            assert all(a[1] < b[0] for a, b in itertools.pairwise(segments))
