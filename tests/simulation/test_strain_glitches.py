"""Glitches in continuous strain: their rate, place and SNR, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from physics.observation import Observation
from runtime.errors import UserError
from simulation.strain_glitches import GlitchPlan, GlitchRate
from simulation.strain_segments import simulate_segment
from simulation.strain_settings import StrainSettings

OBSERVATION = Observation(("H1", "L1"), 1024, 2.0, 15.0, "aLIGOZeroDetHighPower")
NOISES = tuple(OBSERVATION.noise(channel) for channel in range(2))
START = 1_238_166_018


def make_plan(rate: GlitchRate, duration: int, *counters: int) -> GlitchPlan:
    return GlitchPlan(rate, OBSERVATION, NOISES, START, duration, *counters)


def test_glitches_come_as_often_as_asked_and_independently_in_each_detector() -> None:
    plan = make_plan(GlitchRate(an_hour=20.0), 100 * 3600, 1)
    for channel in (0, 1):
        times = np.array([time for time, c in plan.arrivals if c == channel])
        assert abs(len(times) - 2000) < 4 * np.sqrt(2000)
        # The gaps of a Poisson process are exponential: their deviation is their mean.
        gaps = np.diff(times)
        assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)
    assert plan.arrivals != make_plan(GlitchRate(an_hour=20.0), 100 * 3600, 2).arrivals


@pytest.mark.parametrize("number", range(12))
def test_a_glitch_has_the_snr_and_the_place_of_its_row(number: int) -> None:
    plan = make_plan(GlitchRate(an_hour=60.0), 3600, 5)
    glitch = plan.glitch(number)
    channel = OBSERVATION.detectors.index(glitch.row["detector"])
    assert not glitch.strain[1 - channel].any()
    wave = glitch.strain[channel]
    # rho^2 = 4 int |h|^2 / S df, on a grid 4 times as fine as the glitch's own
    size, rate = 4 * len(wave), OBSERVATION.sample_rate
    spectrum, power = np.fft.rfft(wave, size) / rate, NOISES[channel].psd_on_grid(size)
    used = power > 0
    snr = np.sqrt(4 * rate / size * np.sum(np.abs(spectrum[used]) ** 2 / power[used]))
    assert snr == pytest.approx(glitch.row["snr"], rel=0.01)
    assert 8 <= glitch.row["snr"] <= 200
    # the power lies around the time that the row states
    centre = (glitch.first + np.sum(np.arange(len(wave)) * wave**2) / np.sum(wave**2)) / rate
    assert abs(START + centre - glitch.row["time"]) < 0.6


def test_loudness_is_drawn_from_the_law() -> None:
    plan = make_plan(GlitchRate(an_hour=400.0), 3600, 6)
    snr = np.array([plan.glitch(number).row["snr"] for number in range(len(plan))])
    assert len(snr) > 600
    place = np.log(snr / 8) / np.log(200 / 8)  # uniform, as the law is log-uniform
    assert abs(place.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(snr))


def test_strain_differs_by_its_glitches_alone() -> None:
    plain = StrainSettings(64, OBSERVATION, spacing=None, start=START)
    glitchy = StrainSettings(
        64, OBSERVATION, spacing=None, start=START, glitches=GlitchRate(an_hour=600.0)
    )
    quiet = simulate_segment(plain, plain.segments()[0])
    found = simulate_segment(glitchy, glitchy.segments()[0])
    assert found.glitches
    assert not quiet.glitches
    added = found.strain["background"].astype(np.float64) - quiet.strain["background"]
    noises = glitchy.noises(glitchy.segments()[0])
    plan = GlitchPlan(glitchy.glitches, OBSERVATION, noises, START, 64, glitchy.seed, 0)
    expected = np.zeros_like(added)
    for glitch in plan.glitches_by_first_sample():
        expected[:, glitch.first : glitch.end] += glitch.strain
    assert np.abs(added - expected).max() < 1e-6 * np.abs(found.strain["background"]).max()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"an_hour": 0.0}, "expected more than 0"),
        ({"snr": (20.0, 8.0)}, "two rising positive numbers"),
        ({"kinds": ("dropout",)}, "choose from blip"),
        ({"kinds": ()}, "choose from blip"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        GlitchRate(**arguments)
