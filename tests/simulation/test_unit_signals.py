"""Signals of network SNR one: as strain, whitened, and with the SNR of their distance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from physics.bank_settings import DISTANCE, BankSettings
from physics.distance_laws import UniformVolume
from physics.population import COMPETITION_POPULATION
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from simulation.unit_signals import UnitSignals
from simulation.whitened_signals import WhitenedSignals
from transforms import Whiten


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> WaveformBank:
    pytest.importorskip("lalsimulation")
    folder = tmp_path_factory.mktemp("bank")
    return WaveformBank.build(BankSettings(size=24, seed=3), folder, processes=1)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_whitened_signals_are_those_of_the_whitening(bank) -> None:
    """The same draws, whitened or not, are the same signals."""
    signals = SignalGenerator(bank)
    whiten = Whiten(decimate=2)
    strain, no_snr, _ = UnitSignals(signals).draw(8, seeded())
    fast, _, _ = UnitSignals(signals, WhitenedSignals(signals, whiten)).draw(8, seeded())
    assert no_snr is None
    difference = fast - whiten(strain)  # both of network SNR one
    # a part in a hundred of the signal; more is said by the tests of WhitenedSignals
    assert difference.square().sum((1, 2)).sqrt().median() < 0.01
    full = Whiten()(strain)
    torch.testing.assert_close(  # network SNR one: the norm of what exact whitening makes
        full.square().sum((1, 2)).sqrt(), torch.ones(8), rtol=1e-3, atol=0
    )


def test_a_law_of_distance_gives_the_snr_too(bank) -> None:
    population = replace(COMPETITION_POPULATION, distance=UniformVolume())
    signals = SignalGenerator(bank, population=population)
    unit, snr, _ = UnitSignals(signals).draw(8, seeded())
    generator = seeded()
    drawn = signals.draw_placements(8, generator)
    distance = signals.draw_distance(drawn["waveform"], generator)
    near = signals.project(**drawn) * (DISTANCE / distance)[:, None, None]
    expected = signals.optimal_snr(near).norm(dim=1)
    torch.testing.assert_close(snr, expected, rtol=1e-5, atol=0)
    scaled = unit * snr[:, None, None] / 1e-21
    assert (scaled - near).abs().max() < 1e-5 * near.abs().max()
