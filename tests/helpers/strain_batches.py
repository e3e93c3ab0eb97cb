"""Seeded batches of invented strain for tests of transforms and front-ends."""

from __future__ import annotations

import numpy as np
import torch
from competition import noise_of

from physics import noise
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION

FS = COMPETITION.sample_rate
ALWAYS = {"always_apply": True}


def red_noise(batch: int = 2, length: int = 4096) -> torch.Tensor:
    """Return red noise of the amplitude of strain, (batch, 3, length)."""
    return torch.randn(batch, 3, length).cumsum(-1) * 1e-21


def coloured_noise(batch: int, length: int) -> torch.Tensor:
    """Noise of the design curves without power below 10 Hz taken out, in strain."""
    from scipy.linalg import eigh, toeplitz

    rows = []
    for detector in COMPETITION.detectors:
        values, vectors = eigh(toeplitz(noise.autocovariance(noise_of(detector), length)))
        root = (vectors * np.sqrt(values)) @ vectors.T
        rows.append(np.random.default_rng(len(rows)).standard_normal((batch, length)) @ root)
    return torch.tensor(np.stack(rows, axis=1) * STRAIN_UNIT, dtype=torch.float32)
