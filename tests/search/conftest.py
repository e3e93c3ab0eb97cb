"""Strain that several tests of the search write to files."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def strain(rng) -> np.ndarray:
    return rng.normal(0, 1e-21, 8 * 4096)
