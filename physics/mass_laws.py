"""Laws that the masses of binaries are drawn from, in solar masses.

A law says whether its masses are those in the detector frame or at the source: the population it
stands in decides (`Population.frame`). `draw` returns mass_1 >= mass_2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physics.plain_law import PlainLaw, rising_pair
from runtime.errors import UserError

GRID = 4096  # points at which a density without an inverse is tabulated
RATIOS = 512  # points at which the density of the mass ratio is tabulated
AT_A_TIME = 2000  # binaries whose mass ratios are drawn together


class MassLaw(PlainLaw):
    """Base of the laws."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return mass_1 and mass_2, each (count,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class LogUniformTotalMass(MassLaw):
    """The logarithm of the total mass and the mass ratio are uniform: the competition's law.

    Args:
        total: lowest and highest total mass.
        ratio: lowest and highest mass_2 / mass_1, at most 1.
    """

    total: Sequence[float] = (30.0, 80.0)
    ratio: Sequence[float] = (0.3, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", rising_pair(self, "total", self.total))
        object.__setattr__(self, "ratio", rising_pair(self, "ratio", self.ratio, most=1.0))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        total = np.exp(rng.uniform(*np.log(self.total), count))
        ratio = rng.uniform(*self.ratio, count)
        mass_1 = total / (1 + ratio)
        return mass_1, total - mass_1


@dataclass(frozen=True)
class UniformComponents(MassLaw):
    """Both masses are uniform between two bounds; mass_1 is the larger one.

    The density is constant on the triangle mass_1 >= mass_2.

    Args:
        low: lowest mass.
        high: highest mass.
    """

    low: float = 10.0
    high: float = 50.0

    def __post_init__(self) -> None:
        rising_pair(self, "low and high", (self.low, self.high))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        masses = np.sort(rng.uniform(self.low, self.high, (2, count)), axis=0)
        return masses[1], masses[0]


@dataclass(frozen=True)
class PowerLawPeak(MassLaw):
    """The law "Power Law + Peak" of observed binary black holes.

    With a taper S between `low` and `low` + `taper`, the density of mass_1 is proportional to
    [(1 - peak_fraction) B(mass_1) + peak_fraction G(mass_1)] S(mass_1), B being a power law
    mass_1^-slope between `low` and `high` and G a normal distribution, both normalised; and that of
    the mass ratio q, given mass_1, to q^ratio_slope S(q mass_1) where q mass_1 >= low.
    Source: Talbot and Thrane, Astrophysical Journal 856, 173 (2018), equations 3 to 8; the numbers
    are medians of GWTC-3 (Abbott et al., Physical Review X 13, 011048, 2023, section VI).

    Args:
        slope, low, high: of the power law.
        taper: width of its smooth lower end.
        peak_fraction, peak, peak_width: share, mean and standard deviation of the peak.
        ratio_slope: power of the mass ratio.
    """

    slope: float = 3.4
    low: float = 5.08
    high: float = 86.85
    taper: float = 4.83
    peak_fraction: float = 0.038
    peak: float = 33.73
    peak_width: float = 3.56
    ratio_slope: float = 1.08

    def __post_init__(self) -> None:
        rising_pair(self, "low and high", (self.low, self.high))
        if not 0 <= self.peak_fraction <= 1 or self.peak_width <= 0 or self.taper < 0:
            raise UserError(
                f"PowerLawPeak: peak_fraction = {self.peak_fraction}, peak_width = "
                f"{self.peak_width}, taper = {self.taper}: expected a fraction from 0 to 1, and "
                f"widths that are not negative"
            )

    def smoothing(self, mass: np.ndarray) -> np.ndarray:
        """Return S: zero below `low`, one above `low` + `taper`, rising smoothly between."""
        above = np.asarray(mass, float) - self.low
        inside = (above > 0) & (above < self.taper)
        x = np.where(inside, above, self.taper / 2 or 1.0)  # a value that divides by nothing
        with np.errstate(over="ignore", divide="ignore"):
            rise = 1 / (1 + np.exp(self.taper / x + self.taper / (x - self.taper)))
        return np.where(inside, rise, (above >= self.taper) & (above >= 0))

    def primary_density(self, mass: np.ndarray) -> np.ndarray:
        """Return the density of mass_1, not normalised because of the taper."""
        mass = np.asarray(mass, float)
        power = 1 - self.slope
        whole = np.log(self.high / self.low) if power == 0 else self.high**power - self.low**power
        law = mass**-self.slope / (whole if power == 0 else whole / power)
        bump = np.exp(-(((mass - self.peak) / self.peak_width) ** 2) / 2)
        bump = bump / (self.peak_width * np.sqrt(2 * np.pi))
        mixed = (1 - self.peak_fraction) * law + self.peak_fraction * bump
        within = (mass >= self.low) & (mass <= self.high)
        return np.where(within, mixed * self.smoothing(mass), 0.0)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        # Inverse transform sampling of the tabulated distribution, whose steps are a hundredth of a
        # solar mass: far below any feature of the density.
        grid = np.exp(np.linspace(*np.log([self.low, self.high]), GRID))
        mass_1 = invert_density(grid, self.primary_density(grid), rng.uniform(size=count))
        u = rng.uniform(size=count)
        parts = [
            self.draw_ratios(mass_1[first : first + AT_A_TIME], u[first : first + AT_A_TIME])
            for first in range(0, count, AT_A_TIME)
        ]
        return mass_1, np.concatenate(parts) * mass_1

    def draw_ratios(self, mass_1: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return mass ratios, given mass_1 and uniform numbers, all (count,).

        Each mass_1 has its own distribution between `low` / mass_1 and 1, tabulated and inverted.
        """
        least = (self.low / mass_1)[:, None]  # (count, 1)
        q = least + (1 - least) * np.linspace(0, 1, RATIOS)  # (count, RATIOS)
        density = q**self.ratio_slope * self.smoothing(q * mass_1[:, None])
        total = np.cumsum((density[:, 1:] + density[:, :-1]) / 2, axis=1)  # up to each q[1:]
        total = np.concatenate([np.zeros_like(least), total], axis=1)  # (count, RATIOS)
        wanted = u * total[:, -1]
        # The interval that the wanted part lies in, and how far within it.
        at = np.clip((total <= wanted[:, None]).sum(1) - 1, 0, RATIOS - 2)
        rows = np.arange(len(u))
        below, above = total[rows, at], total[rows, at + 1]
        # Of a mass_1 hardly above `low` the density is zero everywhere: the masses are equal.
        step = above - below
        within = np.where(step > 0, (wanted - below) / np.where(step > 0, step, 1), 1.0)
        return q[rows, at] + within * (q[rows, at + 1] - q[rows, at])


@dataclass(frozen=True)
class NeutronStars(UniformComponents):
    """Two neutron stars, their masses uniform between two bounds; mass_1 is the larger one."""

    low: float = 1.1
    high: float = 2.0


@dataclass(frozen=True)
class BlackHoleNeutronStar(MassLaw):
    """A black hole and a neutron star, both masses uniform.

    Args:
        black_hole: lowest and highest mass_1.
        neutron_star: lowest and highest mass_2.
    """

    black_hole: Sequence[float] = (5.0, 30.0)
    neutron_star: Sequence[float] = (1.1, 2.0)

    def __post_init__(self) -> None:
        for name in ("black_hole", "neutron_star"):
            object.__setattr__(self, name, rising_pair(self, name, getattr(self, name)))
        if self.neutron_star[1] > self.black_hole[0]:
            raise UserError(
                f"BlackHoleNeutronStar: neutron_star = {self.neutron_star} and black_hole = "
                f"{self.black_hole}: expected neutron stars lighter than black holes"
            )

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return rng.uniform(*self.black_hole, count), rng.uniform(*self.neutron_star, count)


def invert_density(grid: np.ndarray, density: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return x with F(x) = u, F being the distribution of a tabulated density.

    Args:
        grid: rising, (points,).
        density: at the grid, (points,), not normalised.
        u: uniform from 0 to 1, any shape.
    """
    steps = np.diff(grid) * (density[1:] + density[:-1]) / 2  # trapezoids
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    return np.interp(u, cumulative / cumulative[-1], grid)


MASS_LAWS = {
    law.__name__: law
    for law in (
        LogUniformTotalMass,
        UniformComponents,
        PowerLawPeak,
        NeutronStars,
        BlackHoleNeutronStar,
    )
}
