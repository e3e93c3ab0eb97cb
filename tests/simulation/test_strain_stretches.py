"""Where windows may begin; how stretches are whitened is tested with RealStrain."""

from __future__ import annotations

import numpy as np

from simulation.conditioned_strain import StrainRun
from simulation.strain_stretches import (
    cut_context,
    find_starts,
    intervals_of,
    starts_around,
    usable_samples,
)


def test_windows_begin_where_nothing_bars_them(rng: np.random.Generator) -> None:
    """Against the definition, sample by sample."""
    n, size = 8, 200
    finite, usable = np.ones(size, bool), np.ones(size, bool)
    finite[rng.integers(0, size, 3)] = False
    usable[rng.integers(0, size, 4)] = False
    starts = find_starts(finite, usable, n)
    for s in range(size):
        inside = s - n >= 0 and s + 2 * n <= size
        expected = inside and finite[s - n : s + 2 * n].all() and usable[s : s + n].all()
        assert starts[s] == expected
    assert not find_starts(np.ones(20, bool), np.ones(20, bool), n).any()  # too short
    intervals = intervals_of(starts)
    assert intervals.total == starts.sum()
    listed = [np.arange(a, a + c) for a, c in zip(intervals.first, intervals.count, strict=True)]
    assert np.array_equal(np.concatenate(listed), np.flatnonzero(starts))


def test_windows_around_a_peak_have_it_in_their_middle_half() -> None:
    starts = np.ones(100, bool)
    starts[70] = False
    intervals = starts_around(np.array([3, 40, 75]), starts, 16)
    assert intervals.first.tolist() == [28]  # the first begins too early, the last is barred
    assert intervals.count.tolist() == [8]


def test_usable_samples_are_those_of_the_segments() -> None:
    run = StrainRun(start=100.0, first=1000, count=80)  # at 8 Hz: 100 to 110 s
    usable = usable_samples(run, 1016, 1048, 8, [(103, 105), (90, 102.5)], [(104, 104.5)])
    times = 102 + np.arange(32) / 8
    expected = (times < 102.5) | ((times >= 103) & (times < 105))
    assert np.array_equal(usable, expected & ~((times >= 104) & (times < 104.5)))
    assert usable_samples(run, 1000, 1080, 8, None, []).all()


def test_context_is_as_long_as_the_window_on_either_side() -> None:
    values = np.arange(100, dtype=np.float32)
    assert np.array_equal(cut_context(values, np.array([10, 30]), 8)[1], np.arange(22, 46))
