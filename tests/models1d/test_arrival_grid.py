"""Arrival times and delays: the competition's strides, and room for what light needs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from competition import SAMPLES, window_of

from models1d import arrival_grid
from models1d.arrival_grid import ArrivalGrid, arrival_bounds, largest_delays, make_arrival_grid
from physics.detectors import Network
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError

MERGER = (1.5, 1.8)


def grid_of(
    observation: Observation, stride: int, decimate: int, reference: int = 0
) -> ArrivalGrid:
    rate = observation.sample_rate / decimate
    delays = largest_delays(observation.detectors, reference)
    return make_arrival_grid(observation, reference, arrival_bounds(MERGER), delays, rate, stride)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("decimate", [1, 2, 4])
def test_the_competition_keeps_its_strides(stride: int, decimate: int) -> None:
    """Those of the numbers that were once written down: 1.45 s to 1.86 s, 11.5 ms and 29 ms."""
    grid = grid_of(COMPETITION, stride, decimate)
    rate = COMPETITION.sample_rate / decimate / stride
    assert grid.first == math.floor(1.45 * rate)
    assert grid.first + grid.num_times - 1 == math.floor(1.86 * rate)
    assert grid.reach == tuple(math.ceil(delay * rate) for delay in (0.0, 0.0115, 0.029))


@pytest.mark.parametrize("names", [("H1", "L1", "V1"), ("K1", "A1", "H1"), ("ET1", "ET2", "ET3")])
def test_signals_from_everywhere_lie_inside(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    directions = torch.rand(20_000) * 2 * np.pi, torch.asin(2 * torch.rand(20_000) - 1)
    delays = Network(names).delays(*directions).numpy()
    observation = window_of(SAMPLES, *names)
    for reference in range(3):
        grid = grid_of(observation, 2, 2, reference)
        stride = 2 * 2 / observation.sample_rate  # s
        times = [delays[:, reference] + merger for merger in MERGER]
        assert grid.first * stride < times[0].min()
        assert (grid.first + grid.num_times - 1) * stride > times[1].max()
        assert grid.others == tuple(d for d in range(3) if d != reference)
        for d in range(3):
            longest = np.abs(delays[:, d] - delays[:, reference]).max()
            # Room for light and the margin, and for no more than that and a stride.
            assert longest <= grid.reach[d] * stride
            bound = longest + arrival_grid.DELAY_MARGIN + stride
            assert grid.reach[d] * stride < bound + 1e-4


def test_delays_are_symmetric() -> None:
    for first, second in itertools.permutations(range(3), 2):
        there = largest_delays(COMPETITION.detectors, first)[second]
        assert there == largest_delays(COMPETITION.detectors, second)[first]


@pytest.mark.parametrize(
    ("arrival", "delays", "words"),
    [
        ((1.8, 1.5), (0.0, 0.01, 0.03), "rising times"),
        ((1.8, 2.5), (0.0, 0.01, 0.03), "within 2 s"),
        ((1.6, 1.7), (0.01, 0.0, 0.03), "expected 0 for H1"),
        ((1.6, 1.7), (0.0, -0.01, 0.03), "no negative ones"),
    ],
)
def test_bounds_that_do_not_fit(arrival: tuple, delays: tuple, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_arrival_grid(COMPETITION, 0, arrival, delays, 1024.0, 2)
