"""The spins that laws draw, beside their densities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kstest

from physics.spin_laws import SPINS, AlignedSpins, IsotropicSpins, NoSpins
from runtime.errors import UserError


def drawn(law) -> dict[str, np.ndarray]:
    spins = law.draw(5000, np.random.default_rng(8))
    assert tuple(spins) == SPINS
    assert all(values.shape == (5000,) for values in spins.values())
    return spins


def test_no_spins() -> None:
    assert all((values == 0).all() for values in drawn(NoSpins()).values())


def test_isotropic_spins() -> None:
    spins = drawn(IsotropicSpins(most=(0.9, 0.4)))
    uniform = [spins["a_1"] / 0.9, spins["a_2"] / 0.4]
    uniform += [(np.cos(spins[f"tilt_{body}"]) + 1) / 2 for body in (1, 2)]
    uniform += [spins[name] / math.tau for name in ("phi_12", "phi_jl")]
    for values in uniform:
        assert kstest(values, "uniform").pvalue > 1e-3


def test_aligned_spins() -> None:
    spins = drawn(AlignedSpins(most=0.5))
    for body in (1, 2):
        assert set(spins[f"tilt_{body}"]) == {0.0, math.pi}
        chi = spins[f"a_{body}"] * np.cos(spins[f"tilt_{body}"])
        assert kstest(chi + 0.5, "uniform").pvalue > 1e-3


def test_refusals() -> None:
    for most in (1.2, -0.1, (0.5, 0.5, 0.5), (0.5, 1.0)):
        for law in (AlignedSpins, IsotropicSpins):
            with pytest.raises(UserError, match="expected a spin from 0 to less than 1"):
                law(most=most)
