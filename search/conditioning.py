"""The noise that networks were trained on: its colour, and noise of the detectors' design curves.

Strain is in units of 1e-21; n is the number of samples in a window.
"""

from __future__ import annotations

import functools

import numpy as np

from physics import noise
from physics.curves import DetectorNoise
from physics.observation import COMPETITION, Observation


@functools.cache
def colouring_matrix(detector: str, observation: Observation = COMPETITION) -> np.ndarray:
    """Return C^(1/2) of a detector's design curve, (n, n) float64 in 1e-21."""
    lags = noise.autocovariance(noise_of(detector, observation), observation.num_samples)
    return noise.symmetric_power(lags, 0.5)


def noise_of(detector: str, observation: Observation = COMPETITION) -> DetectorNoise:
    """Return the noise that the networks know of a detector."""
    return observation.noise(observation.detectors.index(detector))


def make_design_noise(
    detector: str, count: int, rng: np.random.Generator, observation: Observation = COMPETITION
) -> np.ndarray:
    """Return Gaussian noise with a detector's design curve as its PSD, (count,) float32 in 1e-21.

    Each bin of the spectrum of N samples at rate f_s has real and imaginary parts of variance
    S f_s N / 4 for the one-sided PSD S.
    """
    from scipy.fft import next_fast_len

    # An inverse FFT is periodic: more is made than is returned, so that the end does not continue
    # at the beginning.
    size = next_fast_len(count + 4 * observation.num_samples, real=True)
    power = noise_of(detector, observation).psd_on_grid(size)
    parts = rng.standard_normal((2, len(power)))
    spectrum = (parts[0] + 1j * parts[1]) * np.sqrt(power * observation.sample_rate * size / 4)
    return np.fft.irfft(spectrum, size)[:count].astype(np.float32)
