"""The duration of an inspiral beside the integral of its chirp, and what of its SNR is early."""

from __future__ import annotations

import math

import pytest

from physics.inspiral import inspiral_frequency, inspiral_seconds, lost_before
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION


def test_the_chirp_reaches_the_merger_in_time() -> None:
    """Two neutron stars: the leading order df/dt, integrated, reaches the merger in 5 s."""
    from scipy.integrate import quad

    start = inspiral_frequency(5.0, 1.4, 1.4)
    chirp_mass = 2.8 * 0.25**0.6 * 4.925490947e-6  # s
    seconds, _ = quad(
        lambda f: 5 / 96 * math.pi ** (-8 / 3) * chirp_mass ** (-5 / 3) * f ** (-11 / 3), start, 1e5
    )
    assert seconds == pytest.approx(5.0, rel=1e-4)
    assert inspiral_seconds(start, 1.4, 1.4) == pytest.approx(5.0, rel=1e-12)
    assert inspiral_seconds(20.0, 1.4, 1.4) == pytest.approx(157.9, rel=0.01)


def test_what_comes_early_of_the_snr() -> None:
    whole = inspiral_seconds(COMPETITION_POPULATION.min_frequency, 10.0, 10.0)
    losses = [
        lost_before(seconds, 10.0, 10.0, COMPETITION_POPULATION, COMPETITION)
        for seconds in (1.01 * whole, 0.5 * whole, 0.1 * whole, 0.0001 * whole)
    ]
    assert losses[0] == 0
    assert losses == sorted(losses)
    assert 0.01 < losses[1] < losses[2] < losses[3] <= 1
