"""Spectra have the units and the size that they should."""

from __future__ import annotations

import numpy as np
import pytest

import configs
from configuration.overrides import override
from look.network_input import prepare
from look.samples import read_samples
from look.spectra import amplitude_density, draw_spectra


def test_white_noise_of_strain_has_its_density(rng: np.random.Generator) -> None:
    """Of variance s^2 at the rate f, s sqrt(2 / f) at every frequency."""
    series = 1e-21 * rng.standard_normal(200_000).astype(np.float32)
    frequencies, density = amplitude_density(series, 2048)
    assert frequencies[[0, -1]] == pytest.approx([2, 1024])
    expected = 1e-21 * np.sqrt(2 / 2048)
    # the mean over 390 windows that overlap: 1 % an entry, and the last has half the power
    np.testing.assert_allclose(density[:-1] / expected, 1, atol=0.25)
    assert np.median(density) == pytest.approx(expected, rel=0.02)


def test_strain_and_input_stand_side_by_side(tables) -> None:
    config = override(configs.Demo, tables)
    figure = draw_spectra(prepare(config, read_samples(config, 1)), 0)
    strain, prepared = figure.axes
    assert (strain.get_ylabel(), prepared.get_ylabel()) == ("strain / √Hz", "input / √Hz")
    assert prepared.get_title() == "Whiten"
    assert [line.get_label() for line in prepared.get_lines()] == ["H1", "L1", "V1"]
    assert prepared.get_lines()[0].get_xdata()[-1] == pytest.approx(512)  # decimated by two
