"""A small hold-out, and templates as plain series, for the tests of benchmarks/detection/."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.detection.holdout import HoldoutSettings
from benchmarks.detection.templates import aligned_parameters, template_settings
from physics.bank_settings import BankSettings
from physics.distance_laws import UniformVolume
from physics.mass_laws import LogUniformTotalMass
from physics.observation import COMPETITION, Observation
from physics.population import Population
from physics.spin_laws import NoSpins
from physics.waveforms import compute_waveforms

CPU = torch.device("cpu")

SMALL = HoldoutSettings(samples=24, bank_size=8)

# Observations that the competition is not: one detector, and two far apart at another rate.
ONE_DETECTOR = Observation(("L1",), sample_rate=1024, window=1.0, min_frequency=15.0)
TWO_DETECTORS = Observation(
    ("H1", "K1"), sample_rate=4096, window=0.5, curves="aLIGOZeroDetHighPower"
)
HEAVY = Population(
    masses=LogUniformTotalMass((120.0, 180.0)), spins=NoSpins(), approximant="IMRPhenomD"
)
HEAVY_IN_VOLUME = Population(
    masses=HEAVY.masses,
    spins=HEAVY.spins,
    approximant="IMRPhenomD",
    distance=UniformVolume(500.0, 2000.0),
)


def quadratures(template: int, settings: BankSettings | None = None) -> np.ndarray:
    """Return LALSuite's own h+ and hx of a face-on template: (2, stretch) float64."""
    settings = settings or template_settings(2)
    parameters = aligned_parameters(settings)[template][None]
    return compute_waveforms(parameters, settings)[0].astype(float)


def shifted(
    series: np.ndarray,
    arrival: float,
    settings: BankSettings | None = None,
    observation: Observation = COMPETITION,
) -> np.ndarray:
    """Return the window of (2, stretch) with the merger at a time in s: (2, time)."""
    stored = (settings or template_settings(2)).series
    turns = np.fft.rfftfreq(stored.stretch) * (arrival * observation.sample_rate - stored.before)
    spectra = np.fft.rfft(series) * np.exp(-2j * np.pi * turns)
    return np.fft.irfft(spectra, stored.stretch)[:, : observation.num_samples]
