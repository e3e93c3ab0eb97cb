"""Transforms of a batch compute what scipy and numpy do, a sample at a time."""

from __future__ import annotations

import numpy as np
from benchmark_examples import CPU

from benchmarks.signal_transforms import preparation
from configs import Nspec16


def test_transforms_are_those_of_scipy(rng: np.random.Generator) -> None:
    samples = rng.normal(0, 1e-20, (2, 3, 4096))
    found = preparation.check_filter(Nspec16, samples, CPU)
    assert found["sosfiltfilt"] < 1e-5
    assert found["filtfilt"] < 1e-2


def test_noise_a_sample_at_a_time_has_the_levels_of_the_config(rng: np.random.Generator) -> None:
    """The peak of the noise lies 15 to 30 dB below that of the strain, in half of the channels."""
    reference = preparation.SampleAtATime(Nspec16, rng)
    x = rng.normal(size=(3, 4096))
    noise = np.concatenate([reference.noisy(x) - x for _ in range(50)])
    share = np.abs(noise).max(1) / np.tile(np.abs(x).max(1), 50)
    level = -20 * np.log10(share[share > 0])
    assert 40 < len(level) < 110  # 75 expected of 150
    assert level.min() > 15 - 1e-6
    assert level.max() < 30 + 1e-6
