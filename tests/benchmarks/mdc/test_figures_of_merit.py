"""Laws of volume by population, rates that are reported, points of a curve."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.mdc.figures_of_merit import curve_points, resolved_rates, volume_laws
from physics.distance_laws import RedshiftedVolume, UniformChirpVolume, UniformVolume
from physics.mass_laws import UniformComponents
from physics.population import Population
from search.sensitivity import FalseAlarms, Injections, VolumeLaw, sphere_volume


def draw(population: Population, count: int = 300) -> Injections:
    drawn = population.draw(count, np.random.default_rng(0))
    columns = (drawn["mass_1"], drawn["mass_2"], drawn["luminosity_distance"])
    return Injections(np.arange(count) * 27.0, *columns, np.full(count, np.nan))


@pytest.mark.parametrize("distance", [UniformChirpVolume(), UniformVolume()])
def test_the_maxima_of_a_sample_are_below_those_of_the_population(distance) -> None:
    population = Population(masses=UniformComponents(10.0, 50.0), distance=distance)
    injections = draw(population)
    laws = volume_laws(injections, population)
    everything = np.ones(len(injections), bool)
    (sample, _), (whole, _) = (laws[name].volume(everything) for name in ("sample", "population"))
    assert 0.6 * whole < sample < whole
    # weighted by chirp mass where the law is of the chirp distance, and not otherwise
    by_mass = isinstance(distance, UniformChirpVolume)
    assert [np.ptp(law.weights) > 0 for law in laws.values()] == [by_mass, by_mass]


def test_populations_without_a_formula_have_no_volume() -> None:
    masses = UniformComponents(10.0, 50.0)
    known = Population(masses=masses, distance=UniformChirpVolume())
    injections = draw(known)
    for population in (Population(), Population(masses=masses, distance=RedshiftedVolume())):
        assert set(volume_laws(injections, population).values()) == {None}
    # of files whose population is not known: the challenge's script
    unknown = volume_laws(injections, None)
    assert unknown["population"] is None
    expected = volume_laws(injections, known)["sample"]
    assert np.array_equal(unknown["sample"].weights, expected.weights)


def test_the_lowest_rate_that_is_resolved_is_reported_as_well() -> None:
    assert resolved_rates((1000.0, 100.0, 10.0, 1.0), 86_400.0) == [1000, 100, 30, 10, 1]
    assert resolved_rates((1000.0, 1.0), 30 * 86_400.0) == [1000, 1]
    assert resolved_rates((1000.0, 100.0), 30 * 86_400.0) == [1000, 100]  # below all of them
    assert resolved_rates((10.0,), 0.0) == [10]


def test_a_curve_has_few_points_and_both_ends() -> None:
    rng = np.random.default_rng(1)
    alarms = FalseAlarms(rng.exponential(size=5000), 30 * 86_400.0)
    law = VolumeLaw(sphere_volume(1000.0), np.ones(400))
    points = curve_points(law, rng.exponential(4, 400), alarms)
    rates = [rate for rate, _ in points]
    assert len(points) <= 200
    assert sorted(rates) == rates
    assert rates[0] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(3000.0)
    distances = [distance for _, distance in points]
    assert distances == sorted(distances)  # more false alarms, farther
