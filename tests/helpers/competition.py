"""The noise of the competition's detectors by name, and small observations for quick tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from physics import noise
from physics.curves import DetectorNoise
from physics.observation import COMPETITION, Observation

SAMPLES = COMPETITION.num_samples


def noise_of(detector: str) -> DetectorNoise:
    """Return the noise of one of the competition's detectors."""
    return COMPETITION.noise(COMPETITION.detectors.index(detector))


def window_of(samples: int, *detectors: str) -> Observation:
    """Return the competition's observation with so many samples, of these detectors."""
    rate = COMPETITION.sample_rate
    return Observation(detectors=detectors or COMPETITION.detectors, window=samples / rate)


def design_matrix(detector: str, cache_dir: Path | None = None) -> np.ndarray:
    """Return the whitening matrix of one of the competition's detectors, (4096, 4096) float32."""
    return noise.whitening_matrix(noise_of(detector), SAMPLES, cache_dir)
