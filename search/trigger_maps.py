"""Whitened strain around a trigger, for its maps of time and frequency."""

from __future__ import annotations

import numpy as np

from data.tracked_psds import TrackedPSD
from search.conditioned_stretch import ConditionedStretch
from search.result import WhitenedStrain

MARGIN_WINDOWS = 0.5  # of strain on either side that the whitening filter may spoil


def whiten_around(conditioned: ConditionedStretch, time: float) -> WhitenedStrain:
    """Return the whitened strain of a window's length around a time, as far as there is room.

    Args:
        conditioned: the stretch that holds the time.
        time: GPS, s, in the middle of what is returned unless an end of the stretch is near.
    """
    observation, start = conditioned.observation, conditioned.stretch.start
    rate, size = observation.sample_rate, observation.num_samples
    samples = len(next(iter(conditioned.strain.values())))
    first = round((time - start) * rate) - size // 2
    first = min(max(first, 0), max(samples - size, 0))
    margin = round(MARGIN_WINDOWS * size)
    low, high = max(first - margin, 0), min(first + size + margin, samples)
    taper = tapered_ends(high - low, margin // 2)
    strain = {}
    for name, values in conditioned.strain.items():
        power = power_at(conditioned.psds[name], time)
        white = whiten_by_psd(values[low:high] * taper, power, observation.window, rate)
        strain[name] = white[first - low : first - low + size]
    return WhitenedStrain(start + first / rate, strain)


def power_at(psds: list[TrackedPSD], time: float) -> np.ndarray:
    """Return the PSD that is valid at a time, or the nearest to it."""
    distance = [max(psd.start - time, time - psd.end, 0.0) for psd in psds]
    return psds[int(np.argmin(distance))].power


def whiten_by_psd(x: np.ndarray, power: np.ndarray, window: float, rate: int) -> np.ndarray:
    """Return strain with its spectrum divided by the noise's, so that noise has unit variance.

    Noise with the one-sided PSD S, sampled at a rate f_s, has the variance S f_s / 2 if it is
    white.

    Args:
        x: (samples,) in 1e-21, tapered at both ends.
        power: (n,) one-sided, in (1e-21)^2 / Hz, at every half of 1 / window.
        window: s.
        rate: Hz.
    """
    frequencies = np.fft.rfftfreq(len(x), 1 / rate)
    known = np.arange(len(power)) / (2 * window)
    psd = np.interp(frequencies, known, power)
    return np.fft.irfft(np.fft.rfft(x) / np.sqrt(psd * rate / 2), len(x))


def tapered_ends(samples: int, taper: int) -> np.ndarray:
    """Return a window that rises and falls as half a cosine over some samples at either end."""
    window = np.ones(samples)
    if 0 < 2 * taper <= samples:
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(taper) + 0.5) / taper)
        window[:taper], window[samples - taper :] = rise, rise[::-1]
    return window
