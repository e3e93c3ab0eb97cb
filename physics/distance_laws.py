"""Laws that the distances of binaries are drawn from, and the cosmology that relates them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from physics.mass_laws import invert_density
from physics.plain_law import PlainLaw, rising_pair
from runtime.errors import UserError, nearest
from runtime.optional_packages import require

# Chirp mass of two neutron stars of 1.4 solar masses: 1.4 / 2^(1/5).
NEUTRON_STARS = 1.4 / 2**0.2
LARGEST_REDSHIFT = 100.0
REDSHIFTS = 4096  # points of a table of distances, evenly spaced in log(1 + z)


class DistanceLaw(PlainLaw):
    """Base of the laws.

    Attributes:
        by_redshift: whether the law draws redshifts, which the masses depend on in the frame of
            the source.
    """

    by_redshift = False

    def distance(self, u: Any, chirp_mass: Any) -> Any:
        """Return luminosity distances in Mpc from uniform numbers, by inverse transform sampling.

        Args:
            u: uniform from 0 to 1, an array or a tensor of any shape.
            chirp_mass: in the detector frame, solar masses, same kind and shape.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class UniformVolume(DistanceLaw):
    """Sources are uniform in Euclidean volume: the density of the distance d is d^2.

    Args:
        low, high: bounds of the luminosity distance, Mpc.
    """

    low: float = 100.0
    high: float = 5000.0

    def __post_init__(self) -> None:
        rising_pair(self, "low and high", (self.low, self.high))

    def distance(self, u: Any, chirp_mass: Any) -> Any:
        # The cube of the distance is uniform.
        return (self.low**3 + u * (self.high**3 - self.low**3)) ** (1 / 3)


@dataclass(frozen=True)
class UniformChirpVolume(UniformVolume):
    """The chirp distance d_c = d (M_0 / M)^(5/6) is uniform in volume, so that SNRs are alike.

    M is the chirp mass in the detector frame, M_0 that of two neutron stars of 1.4 solar masses.
    The amplitude of an inspiral is proportional to M^(5/6) / d. It is the law of the MLGWSC-1
    challenge (Schäfer et al., Physical Review D 107, 023021, 2023, section II).

    Args:
        low, high: bounds of the chirp distance, Mpc.
    """

    low: float = 130.0
    high: float = 350.0

    def distance(self, u: Any, chirp_mass: Any) -> Any:
        return super().distance(u, chirp_mass) * (chirp_mass / NEUTRON_STARS) ** (5 / 6)


@dataclass(frozen=True)
class RedshiftedVolume(DistanceLaw):
    """Sources are uniform in comoving volume and their own time, or evolve with redshift.

    The density of the redshift z is proportional to dV_c / dz (1 + z)^(evolution - 1): the rate in
    the frame of the source is proportional to (1 + z)^evolution, and clocks there run slower by
    1 + z (Fishbach, Holz and Farr, Astrophysical Journal Letters 863, L41, 2018, equation 4).

    Args:
        redshift: lowest and highest.
        evolution: 0 for a constant rate; GWTC-3 found about 2.9.
        cosmology: a name of astropy's, such as 'Planck18'.
    """

    redshift: Sequence[float] = (0.001, 1.5)
    evolution: float = 0.0
    cosmology: str = "Planck18"

    by_redshift = True

    def __post_init__(self) -> None:
        bounds = rising_pair(self, "redshift", self.redshift, most=LARGEST_REDSHIFT)
        object.__setattr__(self, "redshift", bounds)

    def draw_redshift(self, u: np.ndarray) -> np.ndarray:
        """Return redshifts from uniform numbers of any shape."""
        grid = np.expm1(np.linspace(*np.log1p(self.redshift), REDSHIFTS))
        volume = find_cosmology(self.cosmology).differential_comoving_volume(grid).value
        return invert_density(grid, volume * (1 + grid) ** (self.evolution - 1), u)

    def distance(self, u: Any, chirp_mass: Any) -> Any:
        return luminosity_distance(self.draw_redshift(u), self.cosmology)


# --- cosmology ----------------------------------------------------------------------------------


def find_cosmology(name: str) -> Any:
    """Return astropy's cosmology of that name.

    Raises:
        UserError: there is none, or astropy is not installed.
    """
    cosmology = require("astropy.cosmology", "sim")
    if name not in cosmology.available:
        raise UserError(
            f"astropy has no cosmology {name!r}{nearest(name, cosmology.available)}: choose from "
            f"{', '.join(cosmology.available)}"
        )
    return getattr(cosmology, name)


@functools.cache
def distance_table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return redshifts and luminosity distances (Mpc) of a cosmology, each (`REDSHIFTS`,)."""
    redshifts = np.expm1(np.linspace(0, np.log1p(LARGEST_REDSHIFT), REDSHIFTS))
    distances = find_cosmology(name).luminosity_distance(redshifts).value
    return redshifts, distances


def luminosity_distance(redshift: np.ndarray, cosmology: str) -> np.ndarray:
    """Return luminosity distances in Mpc, of any shape, interpolated to some parts in 10^6."""
    redshifts, distances = distance_table(cosmology)
    # d / z is smooth and finite at zero, where d itself would be interpolated worse.
    ratio = np.empty_like(distances)
    ratio[1:] = distances[1:] / redshifts[1:]
    ratio[0] = 2 * ratio[1] - ratio[2]
    return redshift * np.interp(redshift, redshifts, ratio)


def redshift_at(distance: np.ndarray, cosmology: str) -> np.ndarray:
    """Return the redshifts of luminosity distances in Mpc, of any shape."""
    redshifts, distances = distance_table(cosmology)
    ratio = np.empty_like(distances)
    ratio[1:] = redshifts[1:] / distances[1:]
    ratio[0] = 2 * ratio[1] - ratio[2]
    return distance * np.interp(distance, distances, ratio)


DISTANCE_LAWS = {law.__name__: law for law in (UniformVolume, UniformChirpVolume, RedshiftedVolume)}
