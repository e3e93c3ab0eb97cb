"""Whitened waveforms of a bank: where their mergers lie, and the other quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from competition import window_of

from models1d.whitened_bank import BankInWindow, quadrature, quadratures_of
from physics.population import Population
from physics.spin_laws import NoSpins

POPULATION = Population(spins=NoSpins(), approximant="IMRPhenomD", longest=0.7)


def test_mergers_lie_in_the_middle_of_the_arrival_times() -> None:
    pytest.importorskip("lalsimulation")
    where = BankInWindow.of(window_of(2048, "H1", "L1", "V1"), POPULATION, (0, 2), 2, 20, 3)
    # 3/4 to 9/10 of a second, at 1,024 Hz, and light's 21.3 ms.
    assert (where.merger, where.spread, where.room, where.rate) == (845, 99, 1024 - 845, 1024)
    for noise in where.noises:
        white = where.whitened(noise)
        assert white.shape == (20, 2, 1024)
        torch.testing.assert_close(white.norm(dim=-1), torch.ones(20, 2))
        loudest = white.abs().argmax(-1)
        assert (loudest - where.merger).abs().max() < 16


def test_noises_of_one_curve_once() -> None:
    where = BankInWindow.of(window_of(2048), POPULATION, (0, 1, 2), 2, 20, 3)
    assert len(where.noises) == 3
    assert where.without_repetition().noises == (where.noises[0], where.noises[2])


def test_quadrature_of_a_cosine_is_a_sine() -> None:
    t = torch.arange(512, dtype=torch.float64) * (2 * np.pi / 512)
    torch.testing.assert_close(quadrature((7 * t).cos()), (7 * t).sin())
    both = quadratures_of((7 * t).cos())
    torch.testing.assert_close(both[0], (7 * t).cos())
    torch.testing.assert_close(both[1], (7 * t).sin())
