"""A small hold-out, and templates as plain series, for the tests of benchmarks/detection/."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.detection.holdout import HoldoutSettings
from benchmarks.detection.templates import aligned_parameters
from physics.bank_settings import COMPETITION_SERIES, BankSettings
from physics.observation import COMPETITION
from physics.waveforms import compute_waveforms

BEFORE_MERGER, STRETCH = COMPETITION_SERIES.before, COMPETITION_SERIES.stretch

CPU = torch.device("cpu")

SMALL = HoldoutSettings(samples=24, bank_size=8)


def quadratures(template: int) -> np.ndarray:
    """Return LALSuite's own h+ and hx of a face-on template: (2, STRETCH) float64."""
    return compute_waveforms(aligned_parameters(2)[template][None], BankSettings())[0].astype(float)


def shifted(series: np.ndarray, arrival: float) -> np.ndarray:
    """Return the window of (2, STRETCH) with the merger at a time in s: (2, 4096)."""
    turns = np.fft.rfftfreq(STRETCH) * (arrival * COMPETITION.sample_rate - BEFORE_MERGER)
    spectra = np.fft.rfft(series) * np.exp(-2j * np.pi * turns)
    return np.fft.irfft(spectra, STRETCH)[:, : COMPETITION.num_samples]
