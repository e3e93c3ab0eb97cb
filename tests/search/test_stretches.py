"""Stretches: which detectors are searched when."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.recording import Recording, StrainInMemory
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search.stretches import Stretch, bridge_gaps, edge_seconds, find_combinations, plan_stretches

START = 1_200_000_000.0
RATE = COMPETITION.sample_rate
LOST = edge_seconds(RATE, COMPETITION)  # s, at each end of the data


def make_recording(detector: str, start: float, seconds: float) -> Recording:
    """Return a recording of zeros: planning reads no strain."""
    source = StrainInMemory(detector, np.zeros(round(seconds * RATE)), RATE, START + start)
    return Recording(detector, [source])


def make_recordings(**extents: tuple[float, float]) -> dict[str, Recording]:
    """Return recordings by detector, of (start after START, seconds)."""
    return {name: make_recording(name, *extent) for name, extent in extents.items()}


def find_stretch_of_window(stretches: list[Stretch], begin: float) -> list[Stretch]:
    """Return the stretches that a window lies in, apart from one that it only touches."""
    return [
        stretch
        for stretch in stretches
        if stretch.start <= begin and begin + COMPETITION.window < stretch.end
    ]


def test_each_second_is_searched_with_the_detectors_that_have_data() -> None:
    """H1 and L1 for 2,048 s, Virgo for 64 s in their midst."""
    recordings = make_recordings(H1=(0, 2048), L1=(0, 2048), V1=(1000, 64))
    stretches = plan_stretches(recordings, {}, COMPETITION, longest=4096)
    assert [stretch.combination for stretch in stretches] == ["H1L1", "H1L1V1", "H1L1"]
    assert [stretch.number for stretch in stretches] == [0, 1, 2]
    assert stretches[0].start == pytest.approx(START + LOST, abs=1 / RATE)
    assert stretches[-1].end == pytest.approx(START + 2048 - LOST, abs=1 / RATE)
    # all of Virgo's data that the filters leave
    assert stretches[1].start == pytest.approx(START + 1000 + LOST, abs=1 / RATE)
    assert stretches[1].seconds == pytest.approx(64 - 2 * LOST, abs=2 / RATE)
    for before, after in itertools.pairwise(stretches):
        assert before.end - after.start == pytest.approx(COMPETITION.window, abs=1 / RATE)


def test_every_window_lies_in_one_stretch() -> None:
    recordings = make_recordings(H1=(0, 900), L1=(100, 1000), V1=(300, 90))
    allowed = {"L1": [(START + 100, START + 500), (START + 640, START + 1100)]}
    stretches = plan_stretches(recordings, allowed, COMPETITION, longest=128)
    assert max(stretch.seconds for stretch in stretches) <= 128
    for begin in START + LOST + 0.01 + np.arange(0, 1100 - 2 * LOST - 2.1, 0.37):
        found = find_stretch_of_window(stretches, begin)
        on = [
            name
            for name, pairs in (
                ("H1", [(0, 900)]),
                ("L1", [(100, 500), (640, 1100)]),
                ("V1", [(300, 390)]),
            )
            if any(
                START + low + LOST <= begin and begin + COMPETITION.window <= START + high - LOST
                for low, high in pairs
            )
        ]
        assert [stretch.detectors for stretch in found] == [tuple(on)], begin - START


def test_short_interruptions_do_not_end_a_stretch() -> None:
    recordings = make_recordings(H1=(0, 512), L1=(0, 512))
    allowed = {"H1": [(START, START + 200), (START + 200.5, START + 512)]}
    stretches = plan_stretches(recordings, allowed, COMPETITION, longest=4096)
    assert [stretch.combination for stretch in stretches] == ["H1L1"]


def test_detectors_without_common_time_are_searched_alone() -> None:
    recordings = make_recordings(H1=(0, 100), L1=(500, 100))
    stretches = plan_stretches(recordings, {}, COMPETITION, longest=4096)
    assert [stretch.combination for stretch in stretches] == ["H1", "L1"]
    # shorter than a window and the filters: nothing to search
    short = make_recordings(H1=(0, 2 * LOST + COMPETITION.window - 0.1))
    assert plan_stretches(short, {}, COMPETITION, longest=4096) == []


def test_stretches_begin_on_the_grid_of_samples() -> None:
    recordings = make_recordings(H1=(0.00013, 700), L1=(3.3333, 700))
    observation = Observation(detectors=("L1", "H1"))
    for stretch in plan_stretches(recordings, {}, observation, longest=100):
        assert (stretch.start * RATE).is_integer()
        assert (stretch.seconds * RATE).is_integer()
        assert stretch.detectors == tuple(d for d in ("L1", "H1") if d in stretch.detectors)


def test_too_short_a_stretch_is_refused() -> None:
    with pytest.raises(UserError, match="--stretch 3 is too short: give 4 s or more"):
        plan_stretches(make_recordings(H1=(0, 100)), {}, COMPETITION, longest=3)


def test_segments_are_joined_and_combined() -> None:
    assert bridge_gaps([(0, 3), (2, 4), (4.5, 6), (8, 9)], 1) == [(0, 6), (8, 9)]
    combinations = find_combinations({"H1": [(0, 4), (6, 9)], "L1": [(2, 6)]})
    assert combinations == [(0, 2, ("H1",)), (2, 4, ("H1", "L1")), (4, 6, ("L1",)), (6, 9, ("H1",))]
