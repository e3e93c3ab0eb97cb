"""Times between ticks: interpolation, and weights of delays that keep their sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_bank import chirp_network

from search.peak_refinement import HALF_KERNEL, Fineness, fine_log_delays, interpolation


@pytest.mark.parametrize("frequency", [0.01, 0.2, 0.35])
def test_a_band_limited_series_is_interpolated(frequency: float) -> None:
    """Frequencies in cycles a sample; half a cycle is the highest that a series holds."""
    weights = interpolation(64, HALF_KERNEL + 0.1, 0.25, 100).numpy()
    places = HALF_KERNEL + 0.1 + 0.25 * np.arange(100)
    wave = np.cos(2 * np.pi * frequency * np.arange(64) + 0.4)
    expected = np.cos(2 * np.pi * frequency * places + 0.4)
    np.testing.assert_allclose(wave @ weights, expected, atol=2e-3)


@pytest.mark.parametrize("fine", [2, 4, 16])
def test_finer_delays_share_the_weight_of_a_tick(fine: int) -> None:
    network = chirp_network()
    (log_k,) = fine_log_delays(network, fine)
    reach = network.grid.reach[1]
    assert len(log_k) == (2 * reach + 1) * fine + 1
    k, finer = torch.softmax(network.delay[0], 0), torch.softmax(log_k, 0)
    # What lies within half a tick of a tick has about its weight, but for those at the ends.
    for tick in range(1, 2 * reach):
        near = finer[tick * fine : (tick + 1) * fine + 1].clone()
        near[[0, -1]] *= 0.5
        assert near.sum().item() == pytest.approx(k[tick].item(), rel=0.12)
    # Delays are not moved: the largest weight stays at the end where it was.
    assert finer.argmax() > fine * 2 * reach


def test_louder_peaks_are_resolved_more_finely() -> None:
    ratios = [1, 50, 200, 1000, 1e5]
    found = [Fineness.of(ratio) for ratio in ratios]
    assert [f.fine for f in found] == [4, 8, 16, 32, 64]
    assert [f.around for f in found] == [8, 4, 2, 2, 2]
    assert all(f.fine % 2 == 0 for f in found)
