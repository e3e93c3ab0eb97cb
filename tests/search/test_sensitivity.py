"""Sensitive distance: against a second implementation, and where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from challenge_script import evaluate_events

from physics.distance_laws import NEUTRON_STARS, RedshiftedVolume, UniformChirpVolume, UniformVolume
from physics.mass_laws import UniformComponents
from physics.population import Population
from search.sensitivity import (
    MONTH,
    Events,
    FalseAlarms,
    Injections,
    VolumeLaw,
    distance_curve,
    match_events,
    sensitive_distance,
    shares_found,
    sphere_radius,
    sphere_volume,
    volume_law_of_population,
    volume_law_of_sample,
)


def draw_injections(count: int, seed: int, law=None) -> Injections:
    """Draw binaries of the challenge's population, 27 s apart."""
    law = law or UniformChirpVolume(130.0, 350.0)
    rng = np.random.default_rng(seed)
    population = Population(masses=UniformComponents(10.0, 50.0), distance=law)
    drawn = population.draw(count, rng)
    time = 1e9 + np.cumsum(rng.uniform(24, 30, count))
    masses = drawn["mass_1"], drawn["mass_2"]
    return Injections(time, *masses, drawn["luminosity_distance"], np.full(count, np.nan))


def invent_events(injections: Injections, seed: int) -> tuple[Events, Events]:
    """Return events of a foreground and a background: injections found by chance, and noise."""
    rng = np.random.default_rng(seed)
    loudness = 8e3 / injections.chirp_distance + rng.normal(0, 6, len(injections))
    several = rng.integers(0, 4, len(injections))  # events of each injection, 0 to 3
    time = np.repeat(injections.time, several) + rng.normal(0, 0.2, several.sum())
    score = np.repeat(loudness, several) - rng.exponential(2, several.sum())
    start, end = injections.time[0], injections.time[-1]

    def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.uniform(start, end, count), 20 + rng.exponential(3, count)

    noise_time, noise_score = noise(300)
    order = rng.permutation(len(time) + 300)
    foreground = Events(
        np.concatenate([time, noise_time])[order], np.concatenate([score, noise_score])[order]
    )
    return foreground, Events(*noise(300))


@pytest.mark.parametrize("seed", range(2))
def test_distances_are_those_of_the_challenges_script(seed: int) -> None:
    injections = draw_injections(400, seed)
    foreground, background = invent_events(injections, seed)
    duration = 400 * 27.0
    rows = [
        {"tc": t, "mass1": a, "mass2": b, "distance": d}
        for t, a, b, d in zip(
            injections.time, injections.mass1, injections.mass2, injections.distance, strict=True
        )
    ]

    def as_tuples(events: Events) -> list[tuple[float, float, float]]:
        return [(t, s, 0.3) for t, s in zip(events.time, events.score, strict=True)]

    expected = evaluate_events(as_tuples(foreground), as_tuples(background), rows, duration)
    loudest, _ = match_events(injections, foreground)
    law = volume_law_of_sample(injections, by_chirp_distance=True)
    alarms = FalseAlarms(background.score, duration)
    for louder in (1, 5, 30, 299):
        far, distance = expected[len(background) - 1 - louder]
        found = sensitive_distance(law, loudest, alarms, far * MONTH)
        assert found.value == pytest.approx(distance, rel=1e-12)
        assert found.volume == pytest.approx(sphere_volume(distance), rel=1e-12)
    rates, distances = distance_curve(law, loudest, alarms, most=1e9)
    # The script's points are in order of rising thresholds, and its last is a rate of zero.
    assert rates == pytest.approx([far * MONTH for far, _ in expected[:-1]])
    assert distances == pytest.approx([distance for _, distance in expected[:-1]], rel=1e-9)


def test_a_search_with_a_sharp_horizon_has_the_volume_of_that_horizon() -> None:
    """All within a chirp distance are found: with injections from 0 on V is known exactly."""
    law = UniformChirpVolume(1e-3, 350.0)
    injections, horizon = draw_injections(200_000, 1, law), 210.0
    found = injections.chirp_distance < horizon
    volume, error = volume_law_of_population(injections, law).volume(found)
    masses = UniformComponents(10.0, 50.0).draw(500_000, np.random.default_rng(2))
    chirp = (masses[0] * masses[1]) ** 0.6 / (masses[0] + masses[1]) ** 0.2
    expected = sphere_volume(horizon) * np.mean((chirp / NEUTRON_STARS) ** 2.5)
    assert abs(volume - expected) < 4 * error
    assert error < 0.02 * volume


def test_the_challenges_formula_scales_the_shell_to_the_sphere() -> None:
    """Where injections begin at 130 Mpc: the share of the shell, times the whole sphere."""
    law = UniformChirpVolume(130.0, 350.0)
    injections, horizon = draw_injections(200_000, 3, law), 250.0
    volume, error = volume_law_of_population(injections, law).volume(
        injections.chirp_distance < horizon
    )
    share = (horizon**3 - 130**3) / (350**3 - 130**3)
    mean = np.mean((injections.chirp_mass / NEUTRON_STARS) ** 2.5)
    assert abs(volume - sphere_volume(350.0) * mean * share) < 4 * error
    # what the docstring says of it: 3 % low in distance where a third is found
    truth = sphere_volume(horizon) * mean
    assert 0.32 < share < 0.36
    assert sphere_radius(volume) / sphere_radius(truth) == pytest.approx(0.97, abs=0.006)


def test_the_error_is_the_spread_of_many_samples() -> None:
    law, values, errors = UniformChirpVolume(130.0, 350.0), [], []
    for seed in range(300):
        injections = draw_injections(400, seed)
        rng = np.random.default_rng(1000 + seed)
        found = injections.chirp_distance + rng.normal(0, 20, 400) < 250
        alarms = FalseAlarms(np.array([0.5, 0.6]), MONTH)
        distance = sensitive_distance(
            volume_law_of_population(injections, law), found * 1.0, alarms, 1.0
        )
        values.append(distance.value)
        errors.append(distance.error)
    # A standard deviation of 300 values is known to 4 %.
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.16)


def test_maxima_of_a_sample_read_low_by_what_the_docstring_says() -> None:
    law = UniformChirpVolume(130.0, 350.0)
    for count, samples, expected, spread in ((3166, 20, 0.967, 0.012), (95_000, 6, 0.991, 0.006)):
        ratios = []
        for seed in range(samples):
            injections = draw_injections(count, seed)
            found = injections.chirp_distance < 250
            volumes = [
                each.volume(found)[0]
                for each in (
                    volume_law_of_sample(injections, True),
                    volume_law_of_population(injections, law),
                )
            ]
            ratios.append((volumes[0] / volumes[1]) ** (1 / 3))
        assert np.mean(ratios) == pytest.approx(expected, abs=spread)


def test_distances_uniform_in_volume_are_not_weighted_by_mass() -> None:
    law = UniformVolume(1e-3, 4000.0)
    injections = draw_injections(50_000, 4, law)
    volume, error = volume_law_of_population(injections, law).volume(injections.distance < 2000)
    assert abs(volume - sphere_volume(2000.0)) < 4 * error
    of_sample = volume_law_of_sample(injections, by_chirp_distance=False)
    assert of_sample.volume(injections.distance < 2000)[0] == pytest.approx(volume, rel=1e-3)
    assert volume_law_of_population(injections, RedshiftedVolume()) is None


# --- matching ---------------------------------------------------------------------------------


def test_an_event_finds_the_nearest_injection_within_the_tolerance() -> None:
    three = np.array([100.0, 130.0, 130.5])
    injections = Injections(three, three, three, three, three)
    events = Events(
        np.array([130.1, 99.75, 160.0, 130.4, 100.31, 0.0, 99.7, 130.2]),
        np.array([5.0, 4.0, 9.0, 7.0, 8.0, 6.0, 3.0, 6.5]),
    )
    loudest, is_noise = match_events(injections, events)
    # 0.31 s is too far; of two events of one injection the louder one counts
    assert loudest.tolist() == [4.0, 6.5, 7.0]
    assert is_noise.tolist() == [False, False, True, False, True, True, False, False]


def test_without_injections_or_events_nothing_is_found() -> None:
    none = Injections(*[np.empty(0)] * 5)
    loudest, is_noise = match_events(none, Events(np.array([1.0]), np.array([2.0])))
    assert (len(loudest), is_noise.tolist()) == (0, [True])
    injections = draw_injections(10, 0)
    loudest, is_noise = match_events(injections, Events(np.empty(0), np.empty(0)))
    assert np.isneginf(loudest).all()
    assert not len(is_noise)
    law = volume_law_of_sample(injections, True)
    found = sensitive_distance(law, loudest, FalseAlarms(np.arange(4.0), MONTH), 2.0)
    assert (found.value, found.error, found.volume) == (0.0, 0.0, 0.0)


# --- thresholds -------------------------------------------------------------------------------


def test_a_threshold_is_exceeded_by_as_many_events_as_the_rate_allows() -> None:
    rng = np.random.default_rng(5)
    alarms = FalseAlarms(rng.normal(size=5000), 2.5 * 86_400)
    for rate, allowed in ((1000, 83), (100, 8), (13, 1), (12, 1)):
        assert alarms.allowed(rate) == allowed
        assert (alarms.falling > alarms.threshold_of(allowed)).sum() == allowed
        assert alarms.why_unresolved(rate) is None


def test_rates_that_the_background_does_not_resolve_say_why() -> None:
    alarms = FalseAlarms(np.arange(50.0, 60.0), 86_400.0, least=50.0)
    assert alarms.why_unresolved(10) == "needs 3 d of background"
    assert alarms.why_unresolved(1) == "needs 30 d of background"
    assert alarms.why_unresolved(100) is None
    assert "fewer events are louder than 50" in alarms.why_unresolved(1000)
    # all events were kept: then there are no more
    assert FalseAlarms(np.arange(10.0), 86_400.0).why_unresolved(1000) is None


def test_an_hour_resolves_one_false_alarm_an_hour() -> None:
    assert FalseAlarms(np.arange(9.0), 3600.0).allowed(720.0) == 1
    assert FalseAlarms(np.arange(9.0), 3599.0).allowed(720.0) == 0


def test_the_range_of_thresholds_holds_the_truth_two_times_of_three() -> None:
    """Many backgrounds of one rate, and the distance at the threshold that is right."""
    rng = np.random.default_rng(6)
    law, truth, inside = VolumeLaw(sphere_volume(1000.0), np.ones(20_000)), math.log(1000 / 20), 0
    loudest = np.log(rng.uniform(1, 1000, 20_000))  # the share above x is about 1 - e^x / 1000
    at_truth = sphere_radius(law.volume(loudest > truth)[0])
    for _ in range(400):
        count = rng.poisson(1000)  # events above 0, whose loudness is exponential
        alarms = FalseAlarms(rng.exponential(size=count), MONTH)
        found = sensitive_distance(law, loudest, alarms, 20.0)
        inside += found.low <= at_truth <= found.high
    assert 0.6 < inside / 400 < 0.78


def test_shares_have_errors_also_where_all_or_none_are_found() -> None:
    values = np.array([1.0, 1.5, 2.0, 2.5, 3.0])
    found = np.array([True, False, True, True, False])
    one, two, three = shares_found(values, found, np.array([1.0, 2.0, 3.0, 3.0]))
    assert (one.injections, one.found, two.injections, two.found) == (2, 1, 2, 2)
    assert two.efficiency == 1.0
    assert two.error == pytest.approx(1 / 6)  # Wilson: sqrt(1 / 16) / 1.5
    assert math.isnan(three.efficiency)
