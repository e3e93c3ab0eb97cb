"""Whitening of real strain against known noise, and noise of the design curves."""

from __future__ import annotations

import numpy as np
import pytest
from competition import design_matrix
from real_strain import START, coloured_noise

from data.recording import Recording, StrainInMemory
from data.strain_conditioning import condition_strain
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION
from search.conditioning import colouring_matrix, make_design_noise, make_whitening_matrix

NUM_SAMPLES, SAMPLE_RATE = COMPETITION.num_samples, COMPETITION.sample_rate


def held(values: np.ndarray, rate: int = 4096) -> Recording:
    return Recording("H1", [StrainInMemory("held", values, rate, START)])


def test_too_little_strain_has_no_whitening(rng):
    x = rng.standard_normal(18 * SAMPLE_RATE).astype(np.float32)
    assert make_whitening_matrix(x[:4096]) is None


def test_whitened_strain_is_white():
    x = condition_strain(held(coloured_noise("H1", 132)), START + 2, 128 * SAMPLE_RATE)
    matrix = make_whitening_matrix(x)
    white = x.reshape(-1, NUM_SAMPLES) @ matrix
    # 64 windows; the PSD's own scatter is 10 %
    assert white.var() == pytest.approx(1, abs=0.05)
    spectrum = np.abs(np.fft.rfft(white)) ** 2 / NUM_SAMPLES
    for low, high in ((15, 30), (30, 100), (100, 400), (400, 1000)):
        assert spectrum[:, 2 * low : 2 * high].mean() == pytest.approx(1, abs=0.12)
    assert spectrum[:, : 2 * 6].mean() < 0.05  # as in training: nothing below 10 Hz
    edges = white[:, :50].var(), white[:, -50:].var()  # no window
    assert edges == pytest.approx((1, 1), abs=0.15)


def test_design_noise_and_its_colour():
    x = make_design_noise("V1", 400 * SAMPLE_RATE, np.random.default_rng(0))
    rows = x[: 400 * SAMPLE_RATE].reshape(-1, NUM_SAMPLES)
    white = rows @ design_matrix("V1")
    assert white.var() == pytest.approx(1, abs=0.02)
    identity = colouring_matrix("V1") @ design_matrix("V1").astype(np.float64)
    assert np.abs(identity - np.eye(NUM_SAMPLES)).max() < 1e-3  # the cached matrix is float32
    assert STRAIN_UNIT == 1e-21
