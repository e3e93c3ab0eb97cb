"""Settings of a search: ranges, and as many time slides as were asked for."""

from __future__ import annotations

import itertools

import pytest

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search.settings import SearchSettings, check_settings, choose_time_slides

TWO = Observation(detectors=("H1", "L1"))


def test_the_defaults_are_in_range() -> None:
    check_settings(SearchSettings())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"step": 0}, "--step"),
        ({"step": 1e-4}, "less than one sample"),
        ({"step": float("nan")}, "--step"),
        ({"stretch": 0}, "--stretch"),
        ({"shift": 0.01}, "the time light needs"),
        ({"slides": -1}, "--slides"),
        ({"shortest": -1}, "--shortest"),
        ({"batch_size": 0}, "--batch_size"),
        ({"least": float("nan")}, "--least nan is no score"),
        ({"least": -float("inf")}, "--least -inf is no score"),
        ({"psd_every": 0}, "--psd"),
        ({"gate_snr": -1}, "--gate"),
    ],
)
def test_settings_out_of_range(change: dict[str, float], match: str) -> None:
    with pytest.raises(UserError, match=match):
        check_settings(SearchSettings(**change))


def test_ranges_follow_from_the_observation() -> None:
    other = Observation(detectors=("ET1", "ET2", "ET3"), sample_rate=512, window=8.0)
    check_settings(SearchSettings(shift=0.02), other)  # 33 microseconds along 10 km
    for change, observation in (({"shift": 0.02}, COMPETITION), ({"step": 1 / 513}, other)):
        with pytest.raises(UserError, match=f"--{next(iter(change))}"):
            check_settings(SearchSettings(**change), observation)


@pytest.mark.parametrize("detectors", [("H1", "L1"), ("H1", "L1", "V1")])
@pytest.mark.parametrize("slides", [0, 1, 20, 100, 500])
@pytest.mark.parametrize("duration", [32.0, 512.0])
def test_there_are_as_many_slides_as_asked_for(
    duration: float, slides: int, detectors: tuple[str, ...]
) -> None:
    found = choose_time_slides(duration, detectors, SearchSettings(slides=slides), COMPETITION)
    assert len(found) == 1 + slides
    assert found[0] == {}
    for shifts in found[1:]:
        for one, other in itertools.combinations(shifts.values(), 2):
            apart = (one - other) % duration
            assert min(apart, duration - apart) >= 0.03 - 1e-9
    if slides and (slides + 4) * 1.0 <= duration:
        assert found[1]["L1"] == 1.0  # the preferred shift, where there is room


def test_slides_without_room_are_an_error() -> None:
    settings = SearchSettings(slides=100, shift=1.0)
    with pytest.raises(UserError, match=r"--slides 100: a stretch of 32 s has room for 31 time"):
        choose_time_slides(32.0, ("H1", "L1"), settings, TWO)
    many = SearchSettings(slides=5000)
    with pytest.raises(UserError, match=r"has room for 1599 time slides, as shifts must be 0\.02"):
        choose_time_slides(32.0, ("H1", "L1"), many, TWO)
    assert choose_time_slides(32.0, ("H1",), many, TWO) == [{}]


def test_a_signal_is_kept_out_as_far_as_it_can_be_seen() -> None:
    assert SearchSettings(cluster=2.0).signal_reach(COMPETITION) == 4.5
