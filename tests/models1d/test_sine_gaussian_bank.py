"""The bank of whitened sine-Gaussians: its tiling, its basis, and what it finds of glitches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from competition import SAMPLES, noise_of

from models1d.sine_gaussian_bank import (
    BASIS,
    FREQUENCIES,
    LEAST_MATCH,
    LEAST_QUALITY_MATCH,
    sine_gaussian_filters,
    sine_gaussian_tiles,
)
from models1d.template_outputs import power, template_outputs
from physics.glitches import sine_gaussians
from runtime.errors import UserError
from transforms import Whiten


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest overlap of two sine-Gaussians, by their spectra at equal times."""
    f = np.arange(0.0, 4000, 0.05)
    spectra = [np.exp(-(((f - tile[0]) * tile[1] / tile[0]) ** 2) / 2) for tile in (first, second)]
    norms = [math.sqrt((spectrum**2).sum()) for spectrum in spectra]
    return float((spectra[0] * spectra[1]).sum() / norms[0] / norms[1])


def test_no_frequency_or_quality_lies_far_from_a_tile() -> None:
    tiles = sine_gaussian_tiles(512.0)
    assert len(tiles) == 45
    qualities = np.unique(tiles[:, 1])
    for quality in qualities:
        frequencies = tiles[tiles[:, 1] == quality, 0]
        assert frequencies[[0, -1]] == pytest.approx(FREQUENCIES)
        for low, high in itertools.pairwise(frequencies):
            between = np.array([math.sqrt(low * high), quality])
            matches = [overlap(np.array([f, quality]), between) for f in (low, high)]
            # The widths of neighbours differ a little, which the step neglects.
            assert max(matches) > LEAST_MATCH - 0.02
    for low, high in itertools.pairwise(qualities):
        middle = np.array([100.0, math.sqrt(low * high)])
        assert overlap(np.array([100.0, low]), middle) > LEAST_QUALITY_MATCH - 0.001
    assert sine_gaussian_tiles(128.0)[:, 0].max() == pytest.approx(128.0)


def test_filters_are_orthonormal_quadratures_in_a_basis() -> None:
    filters, tiles = sine_gaussian_filters((noise_of("H1"), noise_of("V1")), SAMPLES, 2)
    assert filters.shape == (2, BASIS, 512)
    assert tiles.shape == (2, 45, 2, BASIS)
    for basis, coefficients in zip(filters, tiles, strict=True):
        torch.testing.assert_close(basis @ basis.T, torch.eye(BASIS), atol=1e-5, rtol=0)
        torch.testing.assert_close(coefficients.norm(dim=-1), torch.ones(45, 2))
        assert (coefficients[:, 0] * coefficients[:, 1]).sum(-1).abs().max() < 1e-3


def test_the_bank_finds_sine_gaussians() -> None:
    """Between the tiles in frequency, quality and time, at any phase: at least 80 % of the SNR."""
    filters, tiles = sine_gaussian_filters((noise_of("H1"),), SAMPLES, 2)
    count, rng = 60, np.random.default_rng(0)
    frequency = torch.tensor(rng.uniform(30, 300, (count, 1)), dtype=torch.float32)
    quality = torch.tensor(rng.uniform(2, 12, (count, 1)), dtype=torch.float32)
    phase = torch.tensor(rng.uniform(0, 6.28, (count, 1)), dtype=torch.float32)
    centre = torch.tensor(rng.uniform(1900, 2100, (count, 1)), dtype=torch.float32)
    time = (torch.arange(SAMPLES) - centre) / 2048
    strain = sine_gaussians(time, frequency, quality, phase, torch.zeros_like(phase)) * 1e-21
    # Whitened as a network's input is, all detectors at once; the first is H1.
    white = Whiten(decimate=2)(strain[:, None].expand(-1, 3, -1))[:, 0]
    z = template_outputs(white, filters[0], tiles[0], 700 - 256, 400, 2)
    found = 2 * power(z)  # squared SNRs
    match = found.flatten(1).amax(1).sqrt() / white.norm(dim=1)
    assert match.min() > 0.8
    assert match.mean() > 0.92
    # The loudest output lies where the glitch does, the centre of a filter at its middle.
    place = 700 + 2 * found.amax(1).argmax(1)  # in samples of 1 / 1024 s
    late = (place - centre[:, 0] / 2) / 1024
    assert late.abs().max() < 0.01


def test_a_window_that_is_too_short_for_the_filters() -> None:
    with pytest.raises(UserError, match="set a longer observation"):
        sine_gaussian_filters((noise_of("H1"),), 512, 2)
