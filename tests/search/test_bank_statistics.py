"""Statistics of a bank: bounds beside what they bound, and scores beside the network's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_bank import chirp_network, noise_and_chirps, white_stretch

from physics.observation import Observation
from search.bank_statistics import LikelihoodRatio, SquaredSNR
from search.filter_bank_scorer import FilterBankScorer

THREE = Observation(("H1", "L1", "V1"), sample_rate=1024, window=1.0, min_frequency=20.0)


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("correlation", [None, -0.6, 0.9])
@pytest.mark.parametrize("kind", [LikelihoodRatio, SquaredSNR])
@pytest.mark.parametrize("shift", [0.0, 1.0, 1.7])
def test_no_block_exceeds_its_bound(
    correlation: float | None, kind: type, shift: float, components: int
) -> None:
    network = chirp_network(THREE, correlation, components)
    with torch.no_grad():
        network.amplitude.copy_(torch.tensor([0.3, 1.0, -0.4]))
    chirps = [(t, snr, 90.0) for t, snr in ((3.0, 4), (5.3, 6), (7.1, 9), (9.6, 20))]
    stretch = white_stretch(noise_and_chirps(12, chirps, THREE), THREE)
    statistic = kind(network, range(3))
    scorer = FilterBankScorer([statistic], THREE, 2)
    scorer.prepare(stretch)
    offsets = scorer.offsets({"L1": shift, "V1": 2 * shift})
    bounds = scorer.block_bounds(0, offsets)
    values = scorer.values_of_blocks(0, np.arange(len(bounds)), offsets)
    exact = statistic.over_times(values, torch.zeros_like(values)).numpy()
    assert (bounds >= exact).all()
    # In noise the bound is not far above; shifted blocks lie in two of those that were summarised.
    whole_blocks = shift != 1.7
    most = {LikelihoodRatio: 3.0, SquaredSNR: 4.0}[kind] * (1 if whole_blocks else 2)
    assert np.median(bounds - exact) < most


def test_the_least_value_is_where_the_logit_reaches_a_score() -> None:
    network = chirp_network()
    with torch.no_grad():
        network.classifier.weight.copy_(torch.randn(1, 17))
        network.classifier.weight[0, 0] = 5.0
    statistic = LikelihoodRatio(network, range(2))
    for least in (-3.0, 2.0, 30.0):
        value = statistic.least_value(least)
        below, above = (statistic.score(torch.tensor([value + d])).item() for d in (-0.06, 0.06))
        assert below <= least <= above


def test_a_window_has_the_score_of_the_network() -> None:
    network = chirp_network()
    x = torch.randn(3, 2, 512)
    statistic = LikelihoodRatio(network, range(2))
    with torch.inference_mode():
        values = statistic.over_templates(statistic.of_templates(network.quadratures(x)))
        scores = statistic.score(statistic.over_times(values, torch.zeros_like(values)))
        torch.testing.assert_close(scores, network(x)[:, 0])


def test_squared_snrs_are_summed_where_they_are_coincident() -> None:
    network = chirp_network()
    z = network.quadratures(torch.randn(1, 2, 512))
    found = SquaredSNR(network, range(2)).of_templates(z)[0].detach().numpy()
    squares = [own[0].square().sum(1).detach().numpy() for own in z]  # (template, time)
    reach = network.grid.reach[1]
    for time in (0, 50, network.grid.num_times - 1):
        expected = squares[0][:, time] + squares[1][:, time : time + 2 * reach + 1].max(1)
        np.testing.assert_allclose(found[:, time], expected, rtol=1e-5)
