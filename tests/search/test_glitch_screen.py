"""Windows that may hold a glitch: those of the network's own odds, and no peak is lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_bank import PAIR, chirp_network, noise_and_chirps, white_stretch

from models1d import MatchedFilter1d
from models1d.glitch_hypothesis import NEGLIGIBLE
from search.bank_statistics import LikelihoodRatio
from search.filter_bank_scorer import FilterBankScorer
from search.glitch_screen import find_suspected_ticks

SECONDS, RATE = 40, PAIR.sample_rate


@pytest.fixture(scope="module")
def network() -> MatchedFilter1d:
    return chirp_network(glitches=True)


@pytest.fixture(scope="module")
def scorer(network: MatchedFilter1d) -> FilterBankScorer:
    """Chirps, and sine-Gaussians from hardly to very loud, one of them on a chirp."""
    strain = noise_and_chirps(SECONDS, [(9.0, 9.0, 90.0), (20.0, 12.0, 90.0), (35.0, 7.0, 120.0)])
    for name, when, height in (
        *(("H1", 5.0, 3.0), ("H1", 9.0, 30.0), ("H1", 14.0, 300.0)),
        *(("L1", 25.0, 6.0), ("L1", 30.0, 4000.0)),
    ):
        times = np.arange(SECONDS * RATE) / RATE - when
        strain[name] += height * np.exp(-((times / 0.01) ** 2)) * np.cos(2 * np.pi * 100 * times)
    found = FilterBankScorer([LikelihoodRatio(network, (0, 1))], PAIR, 2)
    found.prepare(white_stretch(strain))
    return found


@pytest.mark.parametrize("channel", [0, 1])
def test_suspected_are_the_windows_of_the_networks_odds(
    network: MatchedFilter1d, scorer: FilterBankScorer, channel: int
) -> None:
    outputs = scorer.outputs[0][channel]
    suspected = find_suspected_ticks(network, channel, outputs).numpy()
    before = network.grid.first + network.grid.num_times // 2  # ticks, of a window
    ticks = np.arange(before, scorer.ticks - before, 7)
    windows = outputs.windows(torch.from_numpy(ticks - before), network.samples)
    x = torch.zeros(len(ticks), 2, network.samples)
    x[:, channel] = windows
    with torch.inference_mode():
        odds = network.glitch.log_glitch_odds(x)[:, channel].numpy()
    matter = odds > math.log(0.05)
    assert matter.sum() > 20
    assert suspected[ticks][matter].all()
    # Few more: those next to a loud glitch, of which a window itself shows nothing.
    assert suspected[ticks][odds < NEGLIGIBLE - 2].mean() < 0.15
    assert suspected.mean() < 0.6


@pytest.mark.parametrize("shifts", [{}, {"L1": 5.0}, {"H1": 1.123, "L1": 7.7}])
def test_the_screen_is_of_use_and_changes_nothing(
    scorer: FilterBankScorer, shifts: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scorer.peaks(shifts, 1.0)
    everything = [[np.ones_like(own) for own in row] for row in scorer.suspected]
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "suspected", everything)
        expected = scorer.peaks(shifts, 1.0)
    assert len(expected) > 1
    np.testing.assert_array_equal(found.time, expected.time)
    np.testing.assert_array_equal(found.score, expected.score)
    assert (~scorer.suspected_together(0, scorer.offsets(shifts))).mean() > 0.3


@pytest.mark.parametrize("correlation", [-0.6, -0.9])
@pytest.mark.parametrize("snr", [7.0, 10.0, 14.0])
@pytest.mark.parametrize("channels", [(0, 1), (1, 0)])
def test_a_signal_beside_the_glitch_of_another_detector_is_found(
    correlation: float, snr: float, channels: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chirp in H1 alone, with a glitch in L1 before it: H1 alone says more than both."""
    network = chirp_network(correlation=correlation, glitches=True)
    strain = noise_and_chirps(12, [(6.0, snr, 90.0)])
    strain["L1"] = noise_and_chirps(12, [])["L1"]
    times = np.arange(12 * RATE) / RATE - 5.8
    strain["L1"] += 8 * np.exp(-((times / 0.01) ** 2)) * np.cos(2 * np.pi * 100 * times)
    scorer = FilterBankScorer([LikelihoodRatio(network, channels)], PAIR, 2)
    scorer.prepare(white_stretch(strain))
    every = scorer.peaks({}, -np.inf)
    near = np.abs(every.time - 1006) < 0.05
    score = every.score[near].max()
    assert score > 5
    found = scorer.peaks({}, score - 0.05)
    assert score in found.score[np.abs(found.time - 1006) < 0.05]
    if channels == (0, 1):  # without the screen it would be lost
        nothing = [[np.zeros_like(own) for own in row] for row in scorer.suspected]
        monkeypatch.setattr(scorer, "suspected", nothing)
        assert score not in scorer.peaks({}, score - 0.05).score


def test_networks_without_the_hypothesis_suspect_nothing() -> None:
    scorer = FilterBankScorer([LikelihoodRatio(chirp_network(), (0, 1))], PAIR, 2)
    scorer.prepare(white_stretch(noise_and_chirps(4, [])))
    assert scorer.suspected_together(0, scorer.offsets({})) is None
