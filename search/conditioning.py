"""From a detector's own strain to what a network was trained on: resampled, cleaned, whitened.

The networks know noise without anything below 10 Hz, sampled at 2,048 Hz. Real strain is brought
there by two filters of finite length, so that what a gap spoils is known exactly, and whitened by
the same method as the simulated one: C^(-1/2) of the covariance of 2 s, here of the PSD that is
measured in the stretch itself. Everything is in units of 1e-21 strain.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from physics import noise
from physics.constants import MIN_FREQUENCY, NUM_SAMPLES, SAMPLE_RATE, STRAIN_UNIT
from search.strain_files import Recording
from signal_transforms import linear_operators as filters

CHUNK = 64  # s read at once
PADDING = 2  # s read beyond either end; more than half of both filters together
SEGMENT = 2 * NUM_SAMPLES  # samples of a Welch segment: C of 2 s needs lags of 2 s
MIN_SEGMENTS = 7  # half overlapping: 16 s. The median of fewer is too rough to whiten with
HIGH_PASS = (2 * SAMPLE_RATE + 1, 120.0)  # taps; attenuation in dB: strain at 1 Hz is 1e5 larger
RESAMPLE_WIDTH = 48.0  # Hz, from pass-band to stop-band around 1,024 Hz
RESAMPLE_ATTENUATION = 80.0  # dB


# --- resampling and high-pass ------------------------------------------------------------------


@functools.cache
def high_pass_taps() -> np.ndarray:
    """Return a linear-phase high-pass at 10 Hz, (4097,): half gain there, nothing below 8 Hz."""
    from scipy.signal import firwin, kaiser_beta

    taps, attenuation = HIGH_PASS
    window = ("kaiser", kaiser_beta(attenuation))
    return firwin(taps, MIN_FREQUENCY, window=window, pass_zero=False, fs=SAMPLE_RATE)


@functools.cache
def resampling_taps(rate: int) -> np.ndarray:
    """Return the low-pass at 1,024 Hz of a polyphase resampler from `rate` to 2,048 Hz.

    Half gain at 1,024 Hz: what folds over stays within 24 Hz of it, where no merger is.
    """
    from scipy.signal import firwin, kaiserord

    up = SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
    fine = rate * up  # Hz, the rate between its two halves
    taps, beta = kaiserord(RESAMPLE_ATTENUATION, RESAMPLE_WIDTH / (fine / 2))
    return firwin(taps | 1, SAMPLE_RATE / 2, window=("kaiser", beta), fs=fine)


def reach(rate: int) -> int:
    """Return how many samples at 2,048 Hz a gap spoils on either side of itself."""
    half = (len(high_pass_taps()) - 1) // 2
    if rate == SAMPLE_RATE:
        return half
    up = SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
    return half + math.ceil((len(resampling_taps(rate)) - 1) / 2 / (rate * up) * SAMPLE_RATE)


def condition(recording: Recording, start: float, count: int) -> np.ndarray:
    """Return strain at 2,048 Hz without what lies below 10 Hz.

    Read in pieces, so that the memory is that of the result and one piece.

    Args:
        recording: of one detector.
        start: GPS time of the first sample.
        count: samples at 2,048 Hz.

    Returns:
        (count,) float32 in 1e-21; NaN where there is no strain and where a gap reaches.
    """
    result = np.empty(count, np.float32)
    for first in range(0, count, CHUNK * SAMPLE_RATE):
        wanted = min(CHUNK * SAMPLE_RATE, count - first)
        seconds = math.ceil(wanted / SAMPLE_RATE) + 2 * PADDING
        raw = recording.read(
            start + first / SAMPLE_RATE - PADDING, seconds * recording.rate
        )  # (raw samples,)
        piece = condition_piece(raw / STRAIN_UNIT, recording.rate)
        skip = PADDING * SAMPLE_RATE
        result[first : first + wanted] = piece[skip : skip + wanted]
    return result


def condition_piece(raw: np.ndarray, rate: int) -> np.ndarray:
    """Resample and high-pass whole seconds; NaN where either filter saw something missing.

    Args:
        raw: (seconds * rate,) float64.
        rate: Hz.

    Returns:
        (seconds * 2048,) float64.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import oaconvolve, resample_poly

    size = len(raw) * SAMPLE_RATE // rate
    missing = ~np.isfinite(raw)
    bad = np.zeros(size, bool)
    bad[np.flatnonzero(missing) * SAMPLE_RATE // rate] = True
    if bad.all():
        return np.full(size, np.nan)
    x = np.where(missing, 0.0, raw)
    if rate != SAMPLE_RATE:
        common = math.gcd(rate, SAMPLE_RATE)
        x = resample_poly(x, SAMPLE_RATE // common, rate // common, window=resampling_taps(rate))
    x = oaconvolve(x, high_pass_taps(), mode="same")
    bad = maximum_filter1d(bad.view(np.uint8), 2 * reach(rate) + 1).astype(bool)
    return np.where(bad, np.nan, x)


# --- the PSD and what whitens by it --------------------------------------------------------------


def median_bias(count: int) -> float:
    """Return the mean over the median of `count` exponential variables, both expected.

    Allen et al., Physical Review D 85, 122006 (2012), equation B12.
    """
    odd = count if count % 2 else count - 1
    return sum((-1) ** (i + 1) / i for i in range(1, odd + 1))


def measure_psd(x: np.ndarray) -> np.ndarray | None:
    """Return the PSD of conditioned strain: Welch's, with the median in place of the mean.

    The median of the segments hardly feels a merger or a glitch, which the mean would (Allen et
    al. 2012, section B). Segments of 4 s under a Hann window, half overlapping; those that touch a
    gap are left out.

    Args:
        x: (samples,) in 1e-21 at 2,048 Hz; NaN where missing.

    Returns:
        (4097,) float64, one-sided, in (1e-21)^2 / Hz, at every quarter of a hertz; positive. None
        where less than 16 s are clean.
    """
    if len(x) < SEGMENT:
        return None
    window = np.hanning(SEGMENT + 1)[:-1]
    pieces = np.lib.stride_tricks.sliding_window_view(x, SEGMENT)[:: SEGMENT // 2]
    pieces = [piece for piece in pieces if np.isfinite(piece).all()]
    if len(pieces) < MIN_SEGMENTS:
        return None
    powers = np.empty((len(pieces), SEGMENT // 2 + 1))
    for row, piece in zip(powers, pieces, strict=True):
        row[:] = np.abs(np.fft.rfft((piece.astype(np.float64) - piece.mean()) * window)) ** 2
    power = np.median(powers, axis=0) / median_bias(len(pieces))
    power *= 2 / (SAMPLE_RATE * (window**2).sum())
    return floored(power)


def floored(power: np.ndarray) -> np.ndarray:
    """Hold a PSD (4097,) up where the high-pass emptied it, or whitening would fill it again.

    Below 10 Hz as `noise.FLOOR` does for the design curves; elsewhere only against zeros.
    """
    frequencies = np.fft.rfftfreq(SEGMENT, 1 / SAMPLE_RATE)
    at_edge = power[np.searchsorted(frequencies, MIN_FREQUENCY)]
    tiny = 1e-9 * power.max()
    floor = np.where(frequencies < MIN_FREQUENCY, noise.FLOOR * at_edge, 0.0)
    return np.maximum(power, np.maximum(floor, max(tiny, np.finfo(float).tiny)))


def whitening_of(x: np.ndarray) -> np.ndarray | None:
    """Return C^(-1/2) of the noise of a stretch, scaled so that its bulk has unit variance.

    A PSD of few segments is itself noisy, and dividing by it overshoots: the scale, from the
    median of the whitened strain, takes that back.

    Args:
        x: (samples,) conditioned strain in 1e-21.

    Returns:
        (4096, 4096) float64 in 1 / 1e-21; None where there is too little clean strain.
    """
    power = measure_psd(x)
    if power is None:
        return None
    matrix = filters.covariance_root(power, NUM_SAMPLES, SAMPLE_RATE)
    rows = np.lib.stride_tricks.sliding_window_view(x, NUM_SAMPLES)[:: NUM_SAMPLES // 2]
    rows = rows[np.isfinite(rows).all(axis=1)][:64].astype(np.float64)
    deviation = np.median(np.abs(rows @ matrix)) / 0.67449  # the quartile of a unit Gaussian
    return matrix / deviation if deviation > 0 else matrix


@functools.cache
def colouring(detector: str) -> np.ndarray:
    """Return C^(1/2) of a detector's design curve, (4096, 4096) float64 in 1e-21."""
    return noise.symmetric_power(noise.autocovariance(detector), 0.5)


def design_noise(detector: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a stretch of noise of the design curve, (count,) float32 in 1e-21."""
    from scipy.fft import next_fast_len

    # periodic: what is cut off keeps the ends apart
    size = next_fast_len(count + 4 * NUM_SAMPLES, real=True)
    power = noise.psd_on_grid(detector, size, SAMPLE_RATE)
    parts = rng.standard_normal((2, len(power)))
    spectrum = (parts[0] + 1j * parts[1]) * np.sqrt(power * SAMPLE_RATE * size / 4)
    return np.fft.irfft(spectrum, size)[:count].astype(np.float32)
