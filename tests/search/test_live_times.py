"""Live times: what a span of recorded time takes from each slide, and their HDF5."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from runtime.errors import UserError
from search.live_times import (
    COLUMNS,
    ExcludedTime,
    LiveTimes,
    concatenate_live_times,
    merge_spans,
    read_live_group,
    write_live_group,
)

NAMES = ("H1", "L1", "V1")


@pytest.fixture
def live() -> LiveTimes:
    """Two slides of a stretch of 100 s of H1 and L1, beside the strain as it was recorded."""
    slides = [{}, {"H1": 0.0, "L1": 10.0}, {"H1": 0.0, "L1": 95.0}]
    seconds = np.array([99.0, 98.0, 97.0])
    return LiveTimes.of_stretch(NAMES, 3, (1000.0, 1100.0), ("H1", "L1"), slides, seconds)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ((1040.0, 1044.0), [4, 8, 8]),  # in H1 and, elsewhere in the slide, in L1
        ((1040.0, 1052.0), [12, 22, 17]),  # overlapping by 2 s, and by 7 s
        ((1096.0, 1130.0), [4, 8, 8]),  # cut at the end
        ((1093.0, 1098.0), [5, 10, 10]),  # round the ring
        ((990.0, 1000.0), [0, 0, 0]),
        ((900.0, 1200.0), [100, 100, 100]),
    ],
)
def test_seconds_that_show_a_span(
    live: LiveTimes, zone: tuple[float, float], expected: list[float]
) -> None:
    excluded = ExcludedTime(live)
    lost = excluded.add(*zone)
    assert (live.seconds - excluded.seconds).tolist() == pytest.approx(
        np.minimum(expected, live.seconds).tolist()
    )
    assert lost == pytest.approx(sum(live.seconds - excluded.seconds))
    assert excluded.add(*zone) == 0
    # against a count of milliseconds
    time = 1000 + (np.arange(100_000) + 0.5) / 1000
    for row, seconds in enumerate(expected):
        shown = np.zeros(len(time), bool)
        for shift in live.shifts[row][:2]:
            recorded = 1000 + (time - 1000 + shift) % 100
            shown |= (recorded > zone[0]) & (recorded < zone[1])
        assert shown.sum() / 1000 == pytest.approx(seconds, abs=0.005)


def test_two_spans_that_meet_in_a_slide_count_once(live: LiveTimes) -> None:
    excluded = ExcludedTime(live)
    excluded.add(1040.0, 1044.0)
    # With a shift of 10 s, L1 shows this while H1 shows the first span.
    assert excluded.add(1050.0, 1054.0) == pytest.approx(4 + 4 + 8)


def test_spans_are_merged() -> None:
    assert merge_spans([(5, 6), (1, 3), (2, 4), (4, 4.5)]) == [(1, 4.5), (5, 6)]


def test_what_is_written_is_read_again(live: LiveTimes, tmp_path: Path) -> None:
    both = concatenate_live_times([live, live])
    with h5py.File(tmp_path / "live.hdf5", "w") as file:
        write_live_group(file.create_group("live"), both)
        found = read_live_group(file["live"], "live.hdf5")
        assert found.detectors == NAMES
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(found, name), getattr(both, name))
        del file["live/seconds"]
        with pytest.raises(UserError, match="column seconds of its live times is missing"):
            read_live_group(file["live"], "live.hdf5")
        file["live/seconds"] = np.ones(2)
        with pytest.raises(UserError, match="of its live times has the shape"):
            read_live_group(file["live"], "live.hdf5")


def test_totals_by_combination(live: LiveTimes) -> None:
    other = dataclasses.replace(live, combination=np.full(3, "H1L1V1"))
    both = concatenate_live_times([live, other.take(np.array([0]))])
    assert both.total_by_combination() == {"H1L1": 294.0, "H1L1V1": 99.0}


def test_pieces_that_have_fewer_slides_than_wanted_are_counted(live: LiveTimes) -> None:
    """Of H1 alone there is nothing to slide, and of other bounds there is another piece."""
    part = LiveTimes.of_stretch(NAMES, 3, (1020.0, 1030.0), ("H1", "V1"), [{}], np.ones(1))
    alone = LiveTimes.of_stretch(NAMES, 3, (1020.0, 1030.0), ("H1",), [{}], np.ones(1))
    every = concatenate_live_times([live, part, alone])
    assert every.count_short_of_slides(0) == (0, 2)
    assert every.count_short_of_slides(2) == (1, 2)
    assert every.count_short_of_slides(3) == (2, 2)
