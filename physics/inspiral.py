"""How long an inspiral lasts, and how much of its SNR comes early."""

from __future__ import annotations

import math

import numpy as np

from physics.constants import SOLAR_MASS_SECONDS, STRAIN_UNIT
from physics.observation import Observation
from physics.population import Population, chirp_mass


def inspiral_frequency(seconds: float, mass_1: float, mass_2: float) -> float:
    """Return the frequency of the (2, 2) mode some time before the merger, Hz.

    At the leading order of the inspiral a time tau before the merger the frequency is
    f = (5 / (256 tau))^(3/8) M^(-5/8) / pi, with the chirp mass M in seconds (Cutler and Flanagan,
    Physical Review D 49, 2658, 1994, equation 2.19).
    """
    mass = chirp_mass(mass_1, mass_2) * SOLAR_MASS_SECONDS
    return (5 / (256 * seconds)) ** 0.375 * mass**-0.625 / math.pi


def inspiral_seconds(frequency: float, mass_1: float, mass_2: float) -> float:
    """Return how long before the merger the (2, 2) mode has a frequency, s.

    It is the inverse of `inspiral_frequency`. Masses are those in the detector frame.
    """
    mass = chirp_mass(mass_1, mass_2) * SOLAR_MASS_SECONDS
    return 5 / 256 * (math.pi * frequency) ** (-8 / 3) * mass ** (-5 / 3)


def lost_before(
    seconds: float, mass_1: float, mass_2: float, population: Population, observation: Observation
) -> float:
    """Return the part of an inspiral's SNR^2 that comes so many seconds before its merger or more.

    An inspiral has |h(f)|^2 proportional to f^(-7/3) up to the innermost stable orbit of its total
    mass m, at 1 / (6^(3/2) pi m); its SNR^2 is the integral of that over the PSD. The detector
    that loses most counts.
    """
    last = 1 / (6**1.5 * math.pi * (mass_1 + mass_2) * SOLAR_MASS_SECONDS)
    last = min(max(last, 2 * population.min_frequency), observation.nyquist)
    frequencies = np.linspace(max(population.min_frequency, observation.min_frequency), last, 4000)
    missed = frequencies < inspiral_frequency(seconds, mass_1, mass_2)
    losses = []
    for channel in range(observation.num_detectors):
        density = frequencies ** (-7 / 3)
        density /= (observation.noise(channel).asd(frequencies) / STRAIN_UNIT) ** 2
        losses.append(density[missed].sum() / density.sum())
    return float(max(losses))
