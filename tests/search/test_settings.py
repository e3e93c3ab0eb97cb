"""Settings of a search: ranges, and lengths in seconds as numbers of windows."""

from __future__ import annotations

import pytest

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search.settings import (
    SearchSettings,
    check_settings,
    min_overlap_seconds,
    min_shift_seconds,
    psd_seconds,
)


def test_the_defaults_are_in_range() -> None:
    check_settings(SearchSettings())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"step": 0}, "--step"),
        ({"step": 1e-4}, "less than one sample"),
        ({"step": float("nan")}, "--step"),
        ({"stretch": 10}, "too short for a PSD"),
        ({"shift": 0.01}, "the time light needs"),
        ({"slides": -1}, "--slides"),
        ({"exclude": -1}, "--exclude"),
        ({"batch_size": 0}, "--batch_size"),
        ({"top": 0}, "--top"),
    ],
)
def test_settings_out_of_range(change: dict[str, float], match: str) -> None:
    with pytest.raises(UserError, match=match):
        check_settings(SearchSettings(**change))


@pytest.mark.parametrize(
    ("step", "shift", "windows"),
    [
        (0.1, 1.0, 10),  # 1 / 0.1 is a hair above 10 in floating point
        (0.3, 1.0, 4),  # a slide must shift by the second at least
        (0.3, 0.9, 3),
        (5.0, 1.0, 1),
    ],
)
def test_a_slide_shifts_by_whole_windows(step: float, shift: float, windows: int) -> None:
    assert SearchSettings(step=step, shift=shift).shift_windows == windows


def test_a_cluster_reaches_one_window_at_least() -> None:
    assert SearchSettings(step=0.1, cluster=2.0).cluster_windows == 20
    assert SearchSettings(step=4.0, cluster=0.5).cluster_windows == 1


def test_least_lengths_follow_from_the_observation() -> None:
    assert psd_seconds(COMPETITION) == 16
    assert min_overlap_seconds(COMPETITION) == 24
    assert min_shift_seconds(COMPETITION) == 0.03
    other = Observation(detectors=("ET1", "ET2", "ET3"), sample_rate=512, window=8.0)
    assert psd_seconds(other) == 64
    assert min_overlap_seconds(other) == 90
    assert min_shift_seconds(other) == 0.01  # 33 microseconds, the light's way along 10 km
    assert min_shift_seconds(Observation(detectors=("V1",))) == 0
    for change in ({"stretch": 179}, {"step": 1 / 513}):
        check_settings(SearchSettings(**change))
        with pytest.raises(UserError, match=f"--{next(iter(change))}"):
            check_settings(SearchSettings(**change), other)
