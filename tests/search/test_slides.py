"""Time slides: their shifts, and when shifted strain was recorded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from physics.observation import COMPETITION, Observation
from search.slides import list_time_slides, min_shift_seconds, recorded_times, times_by_detector


def test_slides_never_leave_two_detectors_in_place() -> None:
    names = ("H1", "L1", "V1")
    first, *slides = list_time_slides(64.0, names, 1000, 1.0)
    assert first == {}
    assert slides
    for shifts in slides:
        for a, b in itertools.combinations(names, 2):
            apart = (shifts[a] - shifts[b]) % 64.0
            assert min(apart, 64.0 - apart) >= 1 - 1e-9
    assert len({tuple(shifts.values()) for shifts in slides}) == len(slides)


@pytest.mark.parametrize(("asked", "made"), [(0, 0), (5, 5), (29, 29), (100, 29)])
def test_as_many_slides_as_the_ring_has_room_for(asked: int, made: int) -> None:
    assert len(list_time_slides(30.0, ("H1", "L1"), asked, 1.0)) == 1 + made


def test_one_detector_has_nothing_to_slide_against() -> None:
    assert list_time_slides(64.0, ("H1",), 20, 1.0) == [{}]


def test_shifted_strain_was_recorded_elsewhere_on_the_ring() -> None:
    time = np.array([100.0, 105.0, 109.5])
    assert recorded_times(time, 2.0, 100.0, 110.0).tolist() == [102.0, 107.0, 101.5]
    assert recorded_times(time, 0.0, 100.0, 110.0) is time
    found = times_by_detector(time, {"L1": 2.0}, ("H1", "L1", "V1"), ("H1", "L1"), (100.0, 110.0))
    assert found[:, 0].tolist() == time.tolist()
    assert found[:, 1].tolist() == [102.0, 107.0, 101.5]
    assert np.isnan(found[:, 2]).all()


def test_the_shortest_shift_is_longer_than_light_takes() -> None:
    assert min_shift_seconds(COMPETITION) == 0.03
    assert min_shift_seconds(Observation(detectors=("H1", "L1"))) == 0.02
    assert min_shift_seconds(Observation(detectors=("H1",))) == 0
