"""Noise as detectors have it: of the size of strain, and much louder at low frequencies."""

from __future__ import annotations

import numpy as np

RATE, N = 2048, 4096


def make_coloured_noise() -> np.ndarray:
    """Return strain (24, 3, `N`) of noise alone."""
    generator = np.random.default_rng(1)
    spectra = np.fft.rfft(generator.normal(size=(24, 3, N)))
    slope = 1 / np.maximum(np.fft.rfftfreq(N, 1 / RATE), 5.0)
    return (1e-21 * np.fft.irfft(spectra * slope)).astype(np.float32)
