"""Laws that spins are drawn from; angles are those of bilby, at the reference frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physics.plain_law import PlainLaw
from runtime.errors import UserError

SPINS = ("a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl")


class SpinLaw(PlainLaw):
    """Base of the laws."""

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the parameters `SPINS`, each (count,)."""
        raise NotImplementedError


def magnitudes(law: object, most: float | Sequence[float]) -> tuple[float, float]:
    """Return the largest spin of either body.

    Raises:
        UserError: they are not from 0 to 1.
    """
    pair = (most, most) if isinstance(most, int | float) else tuple(most)
    if len(pair) != 2 or not all(0 <= value < 1 for value in pair):
        raise UserError(
            f"{type(law).__name__}: most = {most}: expected a spin from 0 to less than 1, or two "
            f"of them"
        )
    return float(pair[0]), float(pair[1])


@dataclass(frozen=True)
class NoSpins(SpinLaw):
    """Neither body spins."""

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {name: np.zeros(count) for name in SPINS}


@dataclass(frozen=True)
class AlignedSpins(SpinLaw):
    """Spins along the orbital angular momentum, their components uniform from -most to most.

    Args:
        most: the largest spin, or that of either body.
    """

    most: float | Sequence[float] = 0.99

    def __post_init__(self) -> None:
        magnitudes(self, self.most)

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        largest = np.array(magnitudes(self, self.most))[:, None]  # (2, 1)
        chi = rng.uniform(-1, 1, (2, count)) * largest
        tilts = np.where(chi < 0, np.pi, 0.0)
        zero = np.zeros(count)
        return dict(zip(SPINS, (*np.abs(chi), *tilts, zero, zero), strict=True))


@dataclass(frozen=True)
class IsotropicSpins(SpinLaw):
    """Spins in any direction, their magnitudes uniform from 0 to most: the competition's law.

    Args:
        most: the largest spin, or that of either body.
    """

    most: float | Sequence[float] = 0.99

    def __post_init__(self) -> None:
        magnitudes(self, self.most)

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        largest = np.array(magnitudes(self, self.most))[:, None]  # (2, 1)
        spins = rng.uniform(0, largest, (2, count))
        tilts = np.arccos(rng.uniform(-1, 1, (2, count)))
        angles = rng.uniform(0, 2 * np.pi, (2, count))
        return dict(zip(SPINS, (*spins, *tilts, *angles), strict=True))


SPIN_LAWS = {law.__name__: law for law in (NoSpins, AlignedSpins, IsotropicSpins)}
