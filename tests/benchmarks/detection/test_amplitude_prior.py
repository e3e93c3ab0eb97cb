"""The likelihood ratio averaged over the SNR, against numerical integrals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from benchmarks.detection.amplitude_prior import (
    TABLE_STEPS,
    AmplitudePrior,
    likelihood_table,
    log_amplitude_likelihood,
)
from physics.bank_settings import DISTANCE
from physics.distance_laws import UniformChirpVolume, UniformVolume
from physics.population import Population


@pytest.mark.parametrize("z", [0.0, 1.0, 3.0, 5.5, 9.0, 20.0, 30.0])
def test_amplitude_and_phase_are_integrated_as_scipy_does(z: float) -> None:
    from scipy.integrate import dblquad

    low, high = 3.7, 27.0

    def likelihood(phase: float, rho: float) -> float:
        prior = rho**-2 / (1 / low - 1 / high) / (2 * math.pi)
        return prior * math.exp(rho * z * math.cos(phase) - rho**2 / 2 - z**2 / 2)

    # likelihoods are compared after division by exp(z^2 / 2), the largest that there can be
    peak = min(max(z, low), high)
    pieces = sorted({low, max(low, peak - 6), min(high, peak + 6), high})
    expected = sum(
        dblquad(likelihood, a, b, -math.pi, math.pi, epsabs=1e-12, epsrel=1e-6)[0]
        for a, b in itertools.pairwise(pieces)
    )
    ours = float(log_amplitude_likelihood(np.array(z), (low, high))) - z**2 / 2
    assert math.exp(ours) == pytest.approx(expected, rel=1e-4)


def test_noise_has_a_mean_likelihood_ratio_of_one() -> None:
    """|Z|^2 of noise is exponential, of mean two; the mean of any likelihood ratio is one."""
    table = likelihood_table((3.7, 27.0)).numpy()
    square = (np.arange(len(table)) + 0.5) / TABLE_STEPS
    assert (table * np.exp(-square / 2) / 2).sum() / TABLE_STEPS == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("law", [UniformVolume(100.0, 300.0), UniformChirpVolume(130.0, 350.0)])
def test_distances_are_integrated_as_scipy_does(law) -> None:
    """The prior of every draw and template is that of its own SNR at a law's distances."""
    from scipy.integrate import quad
    from scipy.special import i0e

    masses, snr = np.array([10.0, 30.0]), np.array([[1.2, 2.4], [0.5, 0.1]])  # (draw, template)
    prior = AmplitudePrior(Population(distance=law), snr, masses)
    z = np.array([0.5, 4.0, 9.0])
    square = torch.tensor(z**2 * TABLE_STEPS, dtype=torch.float32)[:, None].expand(3, 2)

    def ratio(u: float, z: float, at_bank: float, mass: float) -> float:
        rho = at_bank * DISTANCE / law.distance(u, mass)
        return math.exp(rho * z - rho**2 / 2) * i0e(rho * z)

    for template, mass in enumerate(masses):
        found = prior.mean_likelihood(square.clone(), torch.arange(2), template).numpy()
        for draw, value in itertools.product(range(2), range(3)):
            # Tables lie 5 % apart in the SNR at the distance of the bank: 2.5 % are left.
            expected = [
                quad(ratio, 0, 1, args=(z[value], part * snr[draw, template], mass), limit=200)[0]
                for part in (0.975, 1, 1.025)
            ]
            assert 0.95 * min(expected) <= found[value, draw] <= 1.05 * max(expected)


def test_noise_has_a_mean_likelihood_ratio_of_one_for_distances_too() -> None:
    law = UniformVolume(500.0, 3000.0)
    prior = AmplitudePrior(Population(distance=law), np.array([[6.0]]), np.array([30.0]))
    square = torch.arange(0.5, prior.entries)[:, None].float()
    ratios = prior.mean_likelihood(square.clone(), torch.tensor([0]), 0)[:, 0].numpy()
    z_square = square[:, 0].double().numpy() / TABLE_STEPS
    assert (ratios * np.exp(-z_square / 2) / 2).sum() / TABLE_STEPS == pytest.approx(1, rel=1e-3)
