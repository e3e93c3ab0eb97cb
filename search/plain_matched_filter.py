"""The plain matched filter with a network's bank: a yardstick for what a network adds."""

from __future__ import annotations

import torch

from models1d.matched_filter1d import MatchedFilter1d
from physics.observation import Observation
from search.bank_statistics import SquaredSNR
from search.filter_bank_scorer import FilterBankScorer


class PlainMatchedFilterScorer(FilterBankScorer):
    """Peaks of the largest sum of the detectors' squared SNRs, coincident within the light time.

    The score is a squared SNR. No prior, no amplitudes and no phases are used: what a search
    without a network would rank by.

    Args:
        network: gives the bank, arrival times and delays.
        observation: of the network.
        decimate: decimation of the whitening that the bank expects.
        device: to compute on.
    """

    def __init__(
        self,
        network: MatchedFilter1d,
        observation: Observation,
        decimate: int,
        device: torch.device | str = "cpu",
    ) -> None:
        statistic = SquaredSNR(network, range(observation.num_detectors))
        super().__init__([statistic], observation, decimate, device)
