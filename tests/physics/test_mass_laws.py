"""The masses that laws draw, beside the densities that they state."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, loguniform

from physics.mass_laws import (
    BlackHoleNeutronStar,
    LogUniformTotalMass,
    NeutronStars,
    PowerLawPeak,
    UniformComponents,
)
from runtime.errors import UserError

COUNT = 5000
# Seeded: a p-value below 1e-3 is a wrong law and not bad luck.
LEAST = 1e-3


def drawn(law) -> tuple[np.ndarray, np.ndarray]:
    mass_1, mass_2 = law.draw(COUNT, np.random.default_rng(5))
    assert mass_1.shape == mass_2.shape == (COUNT,)
    assert (mass_1 >= mass_2).all()
    return mass_1, mass_2


def test_log_uniform_total_mass() -> None:
    mass_1, mass_2 = drawn(LogUniformTotalMass((20, 100), (0.2, 0.8)))
    assert kstest(mass_1 + mass_2, loguniform(20, 100).cdf).pvalue > LEAST
    assert kstest((mass_2 / mass_1 - 0.2) / 0.6, "uniform").pvalue > LEAST


@pytest.mark.parametrize(
    ("law", "low", "high"), [(UniformComponents(10, 50), 10, 50), (NeutronStars(1.1, 2), 1.1, 2)]
)
def test_uniform_components(law, low: float, high: float) -> None:
    mass_1, mass_2 = ((mass - low) / (high - low) for mass in drawn(law))
    # Of two uniform numbers the larger one is below x with x^2, the smaller one with 1 - (1 - x)^2.
    assert kstest(mass_1**2, "uniform").pvalue > LEAST
    assert kstest((1 - mass_2) ** 2, "uniform").pvalue > LEAST
    assert kstest(mass_2 / mass_1, "uniform").pvalue > LEAST  # independent of the larger one


def test_black_hole_and_neutron_star() -> None:
    mass_1, mass_2 = drawn(BlackHoleNeutronStar((5, 30), (1.1, 2)))
    assert kstest((mass_1 - 5) / 25, "uniform").pvalue > LEAST
    assert kstest((mass_2 - 1.1) / 0.9, "uniform").pvalue > LEAST


def test_power_law_and_peak() -> None:
    """The density is written again here, from the paper, and integrated by quadrature."""
    law = PowerLawPeak(slope=2.5, low=5, high=60, taper=4, peak_fraction=0.3, peak=34, peak_width=3)

    def taper(mass: float) -> float:
        x = mass - 5
        if not 0 < x < 4:
            return float(x >= 4)
        return 1 / (math.exp(4 / x + 4 / (x - 4)) + 1) if 4 / x + 4 / (x - 4) < 700 else 0.0

    def density(mass: float) -> float:
        power = mass**-2.5 * 1.5 / (5**-1.5 - 60**-1.5)
        bump = math.exp(-((mass - 34) ** 2) / 18) / (3 * math.sqrt(2 * math.pi))
        return (0.7 * power + 0.3 * bump) * taper(mass)

    mass_1, mass_2 = drawn(law)
    grid = np.linspace(5, 60, 221)
    parts = [quad(density, a, b)[0] for a, b in itertools.pairwise(grid)]
    total = np.concatenate([[0], np.cumsum(parts)])
    assert kstest(mass_1, lambda m: np.interp(m, grid, total / total[-1])).pvalue > LEAST

    # The ratio of each, through its own distribution given mass_1: uniform if the law is right.
    chosen = np.flatnonzero(mass_1 > 8)[:400]
    ranks = []
    for first, second in zip(mass_1[chosen], mass_2[chosen], strict=True):
        q = np.linspace(5 / first, 1, 400)
        values = q**1.08 * np.array([taper(x * first) for x in q])
        steps = np.concatenate([[0], np.cumsum((values[1:] + values[:-1]) / 2)])
        ranks.append(np.interp(second / first, q, steps / steps[-1]))
    assert kstest(ranks, "uniform").pvalue > LEAST


def test_refusals() -> None:
    for make in (
        lambda: UniformComponents(50, 10),
        lambda: UniformComponents(0, 10),
        lambda: LogUniformTotalMass(total=(30, 80, 90)),
        lambda: LogUniformTotalMass(ratio=(0.3, 1.1)),
        lambda: BlackHoleNeutronStar(black_hole="heavy"),
    ):
        with pytest.raises(UserError, match="expected two rising positive numbers"):
            make()
    with pytest.raises(UserError, match="neutron stars lighter than black holes"):
        BlackHoleNeutronStar((1.5, 30), (1.1, 2))
    with pytest.raises(UserError, match="peak_fraction = 2"):
        PowerLawPeak(peak_fraction=2)
