"""How loud strain is after an exact whitening."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.whitened_level import WhitenedLevel
from transforms import Compose, Normalize, Whiten

N = 64


def level_of(strain: np.ndarray, **params) -> WhitenedLevel:
    """Of a chain whose whitening is a division by 1e-21."""
    chain = Compose([Whiten(matrices=[np.eye(N)] * 3, sr=2048, unit=1e-21, **params)])
    level = WhitenedLevel(chain)
    chain(torch.as_tensor(strain, dtype=torch.float32))
    return level


def noise(scale: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, scale, (50, 3, N))


def test_noise_as_expected_is_not_remarked_upon() -> None:
    for scale in (1e-21, 2.5e-21, 0.4e-21):
        assert level_of(noise(scale)).format_warning() == ""
    np.testing.assert_allclose(level_of(noise(1e-21)).deviations().mean(), 1, atol=0.02)


def test_the_median_decides() -> None:
    strain = noise(1e-21)
    strain[:20] *= 1e6  # some loud glitches
    assert level_of(strain).format_warning() == ""
    strain[:, 0] = 0  # a detector that is missing
    assert level_of(strain).format_warning() == ""
    strain[:30, 1] *= 1e6
    assert "the whitened strain of L1 has" in level_of(strain).format_warning()


@pytest.mark.parametrize("scale", [4e-21, 0.2e-21, 1.0])
def test_noise_that_is_louder_or_quieter_by_far(scale: float) -> None:
    """Strain of size 1 overflows float32 when squared, and is measured all the same."""
    level = level_of(noise(scale))
    assert np.isfinite(level.deviations()).all()
    assert f"{np.median(level.deviations(), axis=0).max() / (scale / 1e-21):.0f}" == "1"
    assert "times the standard deviation that the run expects" in level.format_warning()


def test_a_band_has_its_share_of_the_variance() -> None:
    level = level_of(noise(1e-21), band=(100, 612))
    assert level.expected == pytest.approx(0.5**0.5)
    np.testing.assert_allclose(level.deviations().mean(), 1, atol=0.1)


def test_other_chains_are_not_measured() -> None:
    for chain in (None, Compose([Normalize(factors=[1e-20] * 3)]), Compose([])):
        level = WhitenedLevel(chain)
        assert level.expected is None
        assert level.format_warning() == ""
