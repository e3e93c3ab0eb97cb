"""Whitening by division of the spectrum, beside the exact whitening of the same windows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from competition import window_of
from curve_families import write_family

from physics.noise import NoiseGenerator, curves_of, whitening_matrix
from physics.observation import Observation
from simulation.spectral_whitening import SpectralWhitening, fade_in, psds_of_curves
from transforms import Whiten

N = 1024  # samples of a window


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """H1 and L1 with two curves each, windows of half a second."""
    folder = write_family(tmp_path_factory.mktemp("curves") / "a", -1.5, 0.5)
    return dataclasses.replace(window_of(N, "H1", "L1"), curves=(str(folder), str(folder)))


def whitening_of(observation: Observation, decimate: int) -> SpectralWhitening:
    noises = [noise for d in range(2) for noise in curves_of(observation.noise(d))]
    return SpectralWhitening(psds_of_curves(noises, N), observation, decimate)


@pytest.mark.parametrize("decimate", [1, 2])
def test_noise_is_whitened_by_its_own_psd(
    family: Observation, decimate: int, tmp_path: Path
) -> None:
    """Each member's noise comes out as the exact whitening makes it, but for the edges."""
    longer = NoiseGenerator(observation=dataclasses.replace(family, window=2.0))
    generator = torch.Generator().manual_seed(0)
    numbers = longer.draw_members(200, generator)
    context = longer.sample(200, generator, numbers) / 1e-21  # four windows
    before = 3 * N // 2
    fast = whitening_of(family, decimate).whiten_window(context, numbers, before)
    window = context[..., before : before + N] * 1e-21
    exact = torch.empty_like(fast)
    for number, noise in enumerate(longer.curves):
        noise = dataclasses.replace(noise, sample_rate=2048.0)
        matrix = whitening_matrix(noise, N, tmp_path)
        white = Whiten(matrices=[matrix] * 2, decimate=decimate, observation=family)(window)
        exact = torch.where((numbers == number)[..., None], white, exact)
    # 2 x 200 windows of unit variance, less the lowest frequencies: s.d. 0.002
    low = 12 / 512 if decimate == 2 else 10 / 1024
    assert fast.var().item() == pytest.approx(1 - low, abs=0.03)
    edge = N // decimate // 8
    inner = (fast - exact)[..., edge:-edge]
    assert inner.square().mean().sqrt() < 0.15  # a window of 0.5 s is short for noise from 10 Hz on
    assert (fast - exact).square().mean().sqrt() < 0.2


def test_white_noise_has_the_variance_of_whitened_noise(family: Observation) -> None:
    white = whitening_of(family, 2).white_noise((300, 2), torch.Generator().manual_seed(1))
    assert white.shape == (300, 2, N // 2)
    assert white.var().item() == pytest.approx(1 - 12 / 512, abs=0.01)


def test_the_snr_is_that_of_the_likelihood(family: Observation) -> None:
    """rho^2 = h^T C^(-1) h of a short signal in the middle of the window."""
    time = (np.arange(N) - 0.6 * N) / 2048
    h = torch.tensor(np.exp(-((time / 0.02) ** 2)) * np.sin(2 * np.pi * 120 * time)).float()
    whitening = whitening_of(family, 1)
    curves = curves_of(family.noise(0))
    for number, noise in enumerate(curves):
        exact = torch.tensor(whitening_matrix(noise, N)) @ h
        rho = whitening.optimal_snr(fade_in(h[None]), torch.tensor([number]))
        assert rho.item() == pytest.approx(exact.norm().item(), rel=0.01)


def test_measured_psds(shared: Path, tmp_path: Path) -> None:
    """PSDs of O3, with their lines: nearly what the exact whitening makes."""
    folder = shared / "data" / "mdc_psds"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    observation = dataclasses.replace(window_of(2 * N, "H1"), curves=(str(folder),))
    source = NoiseGenerator(observation=dataclasses.replace(observation, window=3.0))
    numbers = torch.full((60, 1), 7)
    context = source.sample(60, torch.Generator().manual_seed(2), numbers) / 1e-21
    noises = curves_of(observation.noise(0))
    whitening = SpectralWhitening(psds_of_curves(noises, 2 * N), observation, 2)
    fast = whitening.whiten_window(context, numbers, 2 * N)
    matrix = whitening_matrix(noises[7], 2 * N, tmp_path)
    window = context[..., 2 * N : 4 * N] * 1e-21
    exact = Whiten(matrices=[matrix], decimate=2, observation=observation)(window)
    # Windows of 1 s smooth the lines over 2 Hz.
    assert fast.var().item() == pytest.approx(1 - 12 / 512, abs=0.1)
    inner = (fast - exact)[..., N // 8 : -N // 8]
    assert inner.square().mean().sqrt() < 0.2
