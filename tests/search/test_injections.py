"""Injections: signals in recordings of any rate, and which of them count as found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from trigger_tables import make_table

from data.recording import Recording, StrainInMemory
from physics.constants import STRAIN_UNIT
from physics.distance_laws import UniformChirpVolume
from physics.observation import Observation
from physics.population import Population
from search.background import Background
from search.injections import (
    InjectionSettings,
    SignalsInTime,
    inject_into_recordings,
    list_rates,
    match_injections,
    resample_signal,
)
from search.live_times import LiveTimes
from search.sensitivity import sphere_volume
from search.slides import list_time_slides

TWO = Observation(detectors=("H1", "L1"))
POPULATION = Population(distance=UniformChirpVolume())
START = 1_200_000_000
RATE = 2048


def silence(detector: str, seconds: int, rate: int, start: float = START) -> Recording:
    return Recording(detector, [StrainInMemory(detector, np.zeros(seconds * rate), rate, start)])


@pytest.fixture(scope="module")
def signals() -> SignalsInTime:
    pytest.importorskip("lalsimulation", reason="signals need LALSuite")
    settings = InjectionSettings(POPULATION, 20.0, 7)
    return SignalsInTime(settings, TWO, START, START + 64)


def test_a_signal_lies_where_it_should_in_each_recording(signals: SignalsInTime) -> None:
    """The same signal at the rate of the networks and at twice that, read in pieces."""
    assert len(signals.plan) == 3
    rows = signals.parameters()
    strain = {"H1": silence("H1", 64, RATE), "L1": silence("L1", 64, 2 * RATE)}
    injected = inject_into_recordings(strain, signals)
    plain, doubled = (
        recording.read(START, 64 * rate) / STRAIN_UNIT
        for recording, rate in zip(injected.values(), (RATE, 2 * RATE), strict=True)
    )
    for channel, (values, rate) in enumerate(((plain, RATE), (doubled, 2 * RATE))):
        expected = np.zeros(64 * RATE)
        for number in range(3):
            signal = signals.signal(number)
            low, high = max(signal.first, 0), min(signal.end, len(expected))
            expected[low:high] += signal.strain[channel, low - signal.first : high - signal.first]
        np.testing.assert_allclose(values[:: rate // RATE], expected, atol=1e-6 * expected.max())
        for row in rows:
            at = round((row["geocent_time"] - START) * rate)
            loudest = at - rate // 2 + np.abs(values[at - rate // 2 : at + rate // 2]).argmax()
            assert abs(loudest - at) / rate < 0.03
    pieces = [injected["L1"].read(START + 4 * n, 8 * RATE) for n in range(16)]
    np.testing.assert_allclose(
        np.concatenate(pieces) / STRAIN_UNIT, doubled, atol=1e-5 * doubled.max()
    )


def test_gaps_stay_gaps(signals: SignalsInTime) -> None:
    recording = silence("H1", 64, RATE)
    recording.sources[0].values[1000:2000] = np.nan
    values = inject_into_recordings({"H1": recording}, signals)["H1"].read(START, 64 * RATE)
    assert np.isnan(values[1000:2000]).all()
    assert np.isfinite(values[2000:]).all()
    assert np.isnan(recording.read(START, 1500)[1000:]).all()
    assert (recording.read(START + 2, 60 * RATE) == 0).all()  # the recording itself is as it was


def test_a_tone_is_resampled_and_shifted_exactly() -> None:
    time = np.arange(2048) / 2048
    tone = np.sin(2 * np.pi * 100 * time)
    found, place = resample_signal(tone, 2048, 16_384, 5.25)
    assert (len(found), place) == (16_384, 5)
    late = 0.25 / 16_384
    expected = np.sin(2 * np.pi * 100 * (np.arange(16_384) / 16_384 - late))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    again, place = resample_signal(tone, 2048, 2048, -3.0)
    assert place == -3
    np.testing.assert_allclose(again, tone, atol=1e-12)


def background_of(scores: list[float]) -> Background:
    """Eleven time slides of 1,000 s with slid triggers of these scores."""
    shifts = list_time_slides(1000.0, ("H1", "L1"), 11, 1.0)
    live = LiveTimes.of_stretch(
        ("H1", "L1", "V1"), 0, (0.0, 1000.0), ("H1", "L1"), shifts, np.full(12, 1000.0)
    )
    slid = make_table(np.linspace(1, 999, len(scores)), scores, slide=1)
    return Background(slid, live.take(live.slide > 0), {"H1L1": 1000.0})


def rows_at(times: list[float]) -> list[dict[str, float]]:
    return [
        {
            "geocent_time": time,
            "mass_1": 30.0,
            "mass_2": 30.0,
            "luminosity_distance": 1000.0,
            "network_snr": 10.0,
        }
        for time in times
    ]


def test_what_is_found_and_how_significantly() -> None:
    background = background_of([1.0, 2.0, 3.0])
    settings = InjectionSettings(POPULATION, 100.0, 0)
    times = [100.0, 200.0, 300.0, 400.0, 1500.0]
    # the first is found twice, the second half a second off, the third quietly, the last outside
    found = make_table([100.1, 100.2, 200.6, 300.0, 1500.0], [9.0, 8.0, 9.0, 2.5, 9.0])
    result = match_injections(
        rows_at(times), found, background, [(0.0, 1000.0)], settings, reach=4.0
    )
    assert result.injections.time.tolist() == times[:4]
    assert result.score.tolist() == [9.0, -math.inf, 2.5, -math.inf]
    assert result.combination.tolist() == ["H1L1", "", "H1L1", ""]
    assert result.significance.rate[[0, 2]] == pytest.approx([1 / 11_000, 2 / 11_000])
    assert result.is_found(1 / 11_000).tolist() == [True, False, False, False]
    assert result.is_found(1.0).tolist() == [True, False, True, False]
    assert result.efficiency(1.0)[0] == 0.5
    assert 0.1 < result.efficiency(1.0)[1] < 0.3
    # 4/3 pi R^3 (M / M_0)^(5/2) / 4 for one of four
    weight = (30 / 2**0.2 / (1.4 / 2**0.2)) ** 2.5
    radius, error = result.sensitive_distance(1 / 11_000)
    assert sphere_volume(radius) == pytest.approx(sphere_volume(350.0) * weight / 4)
    assert error > 0


def test_what_was_injected_and_what_is_predicted_of_it() -> None:
    """Of the loudest trigger of each injection; nothing of one that has no trigger."""
    names = ("merger_time", "chirp_mass", "network_snr", "chi_1", "no_such")
    values = np.arange(15.0).reshape(3, 5)  # (trigger, side target)
    found = make_table([100.1, 100.2, 300.0], [8.0, 9.0, 2.5]).with_sides(names, values)
    rows = [row | {"chi_1": 0.25} for row in rows_at([100.0, 200.0, 300.0])]
    settings = InjectionSettings(POPULATION, 100.0, 0)
    result = match_injections(rows, found, background_of([1.0]), [(0.0, 1e3)], settings, 4.0)
    assert result.side_names == names
    np.testing.assert_array_equal(result.predicted[[0, 2]], values[1:])
    assert np.isnan(result.predicted[1]).all()
    # (30 30)^(3/5) / 60^(1/5) = 30 / 2^(1/5)
    np.testing.assert_allclose(result.injected[:, 0], [100.0, 200.0, 300.0])
    np.testing.assert_allclose(result.injected[1, 1:], [30 / 2**0.2, 10.0, 0.25, np.nan])


def test_injections_into_a_signal_do_not_count() -> None:
    background = background_of([1.0] * 20)
    background.remove_signals(make_table([100.0], [50.0]), reach=4.0)
    assert [event.time for event in background.removed] == [100.0]
    settings = InjectionSettings(POPULATION, 100.0, 0)
    result = match_injections(
        rows_at([103.0, 200.0]), make_table([], []), background, [(0.0, 1000.0)], settings, 4.0
    )
    assert result.injections.time.tolist() == [200.0]


def test_rates_that_a_background_resolves() -> None:
    background = background_of([1.0, 2.0, 3.0])
    rated = background.rate_triggers(np.array([9.0, 2.5]), np.array(["H1L1", "H1L1"]))
    # 1,000 a month are 3.8e-4 a second; 100 a month are less than one in 11,000 s
    assert list_rates(rated, background) == pytest.approx(
        [1000 / 2_629_800, 2 / 11_000, 1 / 11_000]
    )
    nothing = background_of([])
    nothing.remove_zone((-10.0, 2000.0))
    assert list_rates(rated, nothing) == []


def test_a_population_without_distances_has_no_sensitive_distance() -> None:
    settings = InjectionSettings(Population(), 100.0, 0)
    result = match_injections(
        rows_at([100.0]), make_table([100.0], [9.0]), background_of([1.0]), [(0, 1e3)], settings, 4
    )
    assert math.isnan(result.sensitive_distance(1.0)[0])
    assert result.efficiency(1.0)[0] == 1.0
