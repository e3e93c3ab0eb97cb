"""Folds of a process share generators; what differs in anything does not."""

from __future__ import annotations

import pytest
import torch

from configuration.class_with_arguments import Part
from physics.bank_settings import BankSettings
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION
from physics.waveform_bank import WaveformBank
from simulation import shared_generators
from simulation.training_noise import Gaussian
from transforms import Whiten

CPU = torch.device("cpu")
BANK = BankSettings(size=24, seed=3)


@pytest.fixture(autouse=True)
def empty_caches():
    """Neither serve nor leave a generator of another test."""
    shared = (
        shared_generators.shared_signals,
        shared_generators.shared_whitened,
        shared_generators.shared_noise,
    )
    for function in shared:
        function.cache_clear()
    yield
    for function in shared:
        function.cache_clear()


def test_folds_share_signals_and_their_whitening(tmp_path, monkeypatch) -> None:
    pytest.importorskip("lalsimulation")
    bank = WaveformBank.build(BANK, tmp_path, processes=1)
    monkeypatch.setattr(shared_generators.WaveformBank, "build", lambda settings: bank)
    place = (COMPETITION_POPULATION, CPU, COMPETITION)
    signals = shared_generators.shared_signals(BANK, *place)
    assert shared_generators.shared_signals(BankSettings(24, 3), *place) is signals
    assert shared_generators.shared_signals(BankSettings(24, 4), *place) is not signals
    first = shared_generators.shared_whitened(
        signals, Part(Whiten, decimate=2), COMPETITION, corrected=False
    )
    # An equal part, with numbers of another type.
    again = shared_generators.shared_whitened(
        signals, Part(Whiten, decimate=2.0), COMPETITION, corrected=False
    )
    assert again is first
    assert first.signals is signals


def test_noise_is_shared_by_observation() -> None:
    noise = shared_generators.shared_noise(Part(Gaussian), COMPETITION, CPU)
    assert shared_generators.shared_noise(Part(Gaussian), Observation(), CPU) is noise
    shorter = Observation(window=1.0)
    other = shared_generators.shared_noise(Part(Gaussian), shorter, CPU)
    assert other is not noise
    assert other.observation == shorter
