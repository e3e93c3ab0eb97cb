"""Whitening of real strain as the simulated strain is whitened, and noise of the design curves.

Strain that `data/strain_conditioning.py` has brought to 2,048 Hz is whitened by C^(-1/2), where C
is the covariance matrix of 2 s of noise, here from the PSD measured in the segment itself. Strain
is in units of 1e-21 throughout.
"""

from __future__ import annotations

import functools

import numpy as np

from data.strain_conditioning import measure_psd
from physics import noise
from physics.constants import NUM_SAMPLES, SAMPLE_RATE
from physics.curves import DetectorNoise
from physics.observation import COMPETITION
from signal_transforms import whitening_operators


def make_whitening_matrix(x: np.ndarray) -> np.ndarray | None:
    """Return C^(-1/2) of a segment's noise, scaled so that most of it has unit variance.

    A PSD of few pieces is itself noisy, and dividing by a noisy estimate overshoots on average.
    The scale, from the median of the whitened strain's magnitude, takes that back; loud signals
    and glitches hardly change it.

    Args:
        x: (samples,) conditioned strain in 1e-21.

    Returns:
        (4096, 4096) float64 in 1 / 1e-21; None where there is too little clean strain.
    """
    power = measure_psd(x)
    if power is None:
        return None
    matrix = whitening_operators.covariance_root(power, NUM_SAMPLES, SAMPLE_RATE)
    # (samples,) -> (windows, 4096), half overlapping; 64 clean ones are enough for a median
    rows = np.lib.stride_tricks.sliding_window_view(x, NUM_SAMPLES)[:: NUM_SAMPLES // 2]
    rows = rows[np.isfinite(rows).all(axis=1)][:64].astype(np.float64)
    deviation = np.median(np.abs(rows @ matrix)) / 0.67449  # the quartile of a unit Gaussian
    return matrix / deviation if deviation > 0 else matrix


@functools.cache
def colouring_matrix(detector: str) -> np.ndarray:
    """Return C^(1/2) of a detector's design curve, (4096, 4096) float64 in 1e-21."""
    return noise.symmetric_power(noise.autocovariance(noise_of(detector), NUM_SAMPLES), 0.5)


def design_whitening_matrix(detector: str) -> np.ndarray:
    """Return C^(-1/2) of a detector's design curve, (4096, 4096) float32 in 1 / 1e-21."""
    return noise.whitening_matrix(noise_of(detector), NUM_SAMPLES)


def noise_of(detector: str) -> DetectorNoise:
    """Return the noise that the networks know of a detector."""
    return COMPETITION.noise(COMPETITION.detectors.index(detector))


def make_design_noise(detector: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return Gaussian noise with a detector's design curve as its PSD, (count,) float32 in 1e-21.

    Each bin of the spectrum of N samples at rate f_s has real and imaginary parts of variance
    S f_s N / 4 for the one-sided PSD S.
    """
    from scipy.fft import next_fast_len

    # An inverse FFT is periodic: more is made than is returned, so that the end does not continue
    # at the beginning.
    size = next_fast_len(count + 4 * NUM_SAMPLES, real=True)
    power = noise_of(detector).psd_on_grid(size)
    parts = rng.standard_normal((2, len(power)))
    spectrum = (parts[0] + 1j * parts[1]) * np.sqrt(power * SAMPLE_RATE * size / 4)
    return np.fft.irfft(spectrum, size)[:count].astype(np.float32)
