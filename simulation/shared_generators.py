"""Generators of signals and noise that all folds of a process share."""

from __future__ import annotations

import functools

import torch

from configuration.class_with_arguments import Part
from physics.bank_settings import BankSettings
from physics.observation import Observation
from physics.population import Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from simulation.fresh_binaries import RenewedBank
from simulation.training_noise import TrainingNoise
from simulation.whitened_signals import WhitenedSignals


@functools.lru_cache(maxsize=2)
def shared_signals(
    bank: BankSettings, population: Population, device: torch.device, observation: Observation
) -> SignalGenerator:
    """Return the signals of a bank on a device; all folds of a process share one generator."""
    return SignalGenerator(WaveformBank.build(bank), device, population, observation=observation)


@functools.lru_cache(maxsize=2)
def shared_whitened(
    signals: SignalGenerator, whiten: Part, observation: Observation, corrected: bool
) -> WhitenedSignals:
    """Return what draws these signals whitened; one for all folds of a process."""
    return WhitenedSignals(signals, whiten.build_for(observation=observation), corrected)


@functools.lru_cache(maxsize=1)
def shared_renewed(
    bank: BankSettings,
    population: Population,
    device: torch.device,
    observation: Observation,
    whiten: Part | None,
    corrected: bool,
    fresh: int,
    processes: int,
) -> RenewedBank:
    """Return signals of a bank that is renewed; all folds of a process share them."""
    signals = SignalGenerator(WaveformBank.build(bank), device, population, observation=observation)
    whitened = None
    if whiten is not None:
        whitened = WhitenedSignals(signals, whiten.build_for(observation=observation), corrected)
    return RenewedBank(signals, whitened, bank, fresh, processes)


@functools.lru_cache(maxsize=2)
def shared_noise(noise: Part, observation: Observation, device: torch.device) -> TrainingNoise:
    """Return a kind of noise on a device; all folds of a process share one."""
    return noise.build_for(observation=observation, device=device)
