"""Whitening of real strain as the simulated strain is whitened, and noise of the design curves.

Strain that `data/strain_conditioning.py` has brought to the rate of the observation is whitened by
C^(-1/2), where C is the covariance matrix of the noise in a window, here from the PSD measured in
the segment itself. Strain is in units of 1e-21 throughout; n is the number of samples in a window.
"""

from __future__ import annotations

import functools

import numpy as np

from data.strain_conditioning import measure_psd
from physics import noise
from physics.curves import DetectorNoise
from physics.observation import COMPETITION, Observation
from search.conditioned_stretch import ConditionedStretch, ConditioningSettings, load_stretch  # noqa: F401 - their first home
from signal_transforms import whitening_operators


def make_whitening_matrix(
    x: np.ndarray, observation: Observation = COMPETITION
) -> np.ndarray | None:
    """Return C^(-1/2) of a segment's noise, scaled so that most of it has unit variance.

    A PSD of few pieces is itself noisy, and dividing by a noisy estimate overshoots on average.
    The scale, from the median of the whitened strain's magnitude, takes that back; loud signals
    and glitches hardly change it.

    Args:
        x: (samples,) conditioned strain in 1e-21.
        observation: gives the rate and the length of a window.

    Returns:
        (n, n) float64 in 1 / 1e-21; None where there is too little clean strain.
    """
    power = measure_psd(x, observation)
    if power is None:
        return None
    n = observation.num_samples
    matrix = whitening_operators.covariance_root(power, n, observation.sample_rate)
    # (samples,) -> (windows, n), half overlapping; 64 clean ones are enough for a median
    rows = np.lib.stride_tricks.sliding_window_view(x, n)[:: n // 2]
    rows = rows[np.isfinite(rows).all(axis=1)][:64].astype(np.float64)
    deviation = np.median(np.abs(rows @ matrix)) / 0.67449  # the quartile of a unit Gaussian
    return matrix / deviation if deviation > 0 else matrix


@functools.cache
def colouring_matrix(detector: str, observation: Observation = COMPETITION) -> np.ndarray:
    """Return C^(1/2) of a detector's design curve, (n, n) float64 in 1e-21."""
    lags = noise.autocovariance(noise_of(detector, observation), observation.num_samples)
    return noise.symmetric_power(lags, 0.5)


def design_whitening_matrix(detector: str, observation: Observation = COMPETITION) -> np.ndarray:
    """Return C^(-1/2) of a detector's design curve, (n, n) float32 in 1 / 1e-21."""
    return noise.whitening_matrix(noise_of(detector, observation), observation.num_samples)


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
