"""Noise of the design curves, and its colour."""

from __future__ import annotations

import numpy as np
import pytest
from competition import design_matrix

from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION
from search.conditioning import colouring_matrix, make_design_noise

NUM_SAMPLES, SAMPLE_RATE = COMPETITION.num_samples, COMPETITION.sample_rate


def test_design_noise_and_its_colour():
    x = make_design_noise("V1", 400 * SAMPLE_RATE, np.random.default_rng(0))
    rows = x[: 400 * SAMPLE_RATE].reshape(-1, NUM_SAMPLES)
    white = rows @ design_matrix("V1")
    assert white.var() == pytest.approx(1, abs=0.02)
    identity = colouring_matrix("V1") @ design_matrix("V1").astype(np.float64)
    assert np.abs(identity - np.eye(NUM_SAMPLES)).max() < 1e-3  # the cached matrix is float32
    assert STRAIN_UNIT == 1e-21
