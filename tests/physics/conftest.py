"""A small waveform bank and its signals, computed once for all tests of the physics."""

from __future__ import annotations

from pathlib import Path

import pytest

from physics.bank_settings import BankSettings
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank


@pytest.fixture(scope="session")
def bank(physics_cache: Path) -> WaveformBank:
    """48 binaries: (48, 2, STRETCH)."""
    pytest.importorskip("lalsimulation")
    return WaveformBank.build(BankSettings(size=48, seed=5), physics_cache)


@pytest.fixture(scope="session")
def signals(bank: WaveformBank) -> SignalGenerator:
    return SignalGenerator(bank)
