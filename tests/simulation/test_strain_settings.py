"""Settings of continuous strain: its segments, and numbers that are out of range."""

from __future__ import annotations

from dataclasses import replace

import pytest

from physics.mass_laws import LogUniformTotalMass
from physics.observation import Observation
from physics.population import Population
from runtime.errors import UserError
from simulation.strain_glitches import GlitchRate
from simulation.strain_settings import StrainSettings

OBSERVATION = Observation(("H1", "L1"), 1024, 2.0, 15.0, "aLIGOZeroDetHighPower")
HEAVY = Population(masses=LogUniformTotalMass((60.0, 80.0)))
SETTINGS = StrainSettings(
    192, OBSERVATION, HEAVY, seed=7, longest_segment=70, gap=8, start=1_238_166_018
)


def test_segments_share_the_time_and_leave_gaps() -> None:
    settings = replace(SETTINGS, seconds=200, spacing=None)
    segments = settings.segments()
    assert [s.duration for s in segments] == [67, 67, 66]
    assert [s.start - SETTINGS.start for s in segments] == [0, 75, 150]
    assert segments[-1].end == SETTINGS.start + 216


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seconds": 0}, "segments of 0 s, and one of 31 s is the shortest"),
        ({"seconds": -3600}, "ask for more hours"),
        ({"seconds": 3600 * 10**9}, "expected 316224000 s \\(ten years\\) or less"),
        ({"longest_segment": 20}, "segments of 19 s"),
        ({"longest_segment": 10, "spacing": None}, "one of 16 s is the shortest that holds a wi"),
        ({"longest_segment": 0}, "longest_segment of simulated strain is 0"),
        ({"gap": -1}, "gap of simulated strain is -1"),
        ({"seed": -1}, "seed of simulated strain is -1"),
        ({"start": -5}, "start of simulated strain is -5"),
        ({"spacing": (30.0, 24.0)}, "injections every 30 to 24 s"),
        ({"spacing": (0.0, 24.0)}, "expected two rising numbers of 1 s or more"),
        ({"spacing": (float("nan"), 24.0)}, "expected two rising numbers"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(SETTINGS, **changes)


def test_glitches_are_part_of_the_settings_and_strain_without_them_is_described_as_before() -> None:
    assert "glitches" not in SETTINGS.to_plain()
    with_glitches = replace(SETTINGS, glitches=GlitchRate(30.0)).to_plain()
    assert with_glitches.pop("glitches")["an_hour"] == 30.0
    assert with_glitches == SETTINGS.to_plain()
