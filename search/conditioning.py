"""Conditioning: real strain is resampled, high-passed and whitened to be like the training data.

The networks were trained at 2,048 Hz on noise without anything below 10 Hz. Two filters of finite
length bring real strain there; because they are finite, it is known exactly which samples a gap
spoils. The strain is then whitened as the simulated strain is: by C^(-1/2), where C is the
covariance matrix of 2 s of noise, here from the PSD measured in the segment itself. Strain is in
units of 1e-21 throughout.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from physics import noise
from physics.constants import MIN_FREQUENCY, NUM_SAMPLES, SAMPLE_RATE, STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.observation import COMPETITION
from search.recording import Recording
from signal_transforms import whitening_operators

READ_SECONDS = 64  # read at once
PADDING_SECONDS = 2  # read beyond either end; more than half of both filters together
WELCH_SAMPLES = 2 * NUM_SAMPLES  # of a piece of Welch's method: C of 2 s needs lags of 2 s
MIN_WELCH_PIECES = 7  # half overlapping: 16 s. The median of fewer is too rough to whiten with
HIGH_PASS_TAPS = 2 * SAMPLE_RATE + 1
HIGH_PASS_ATTENUATION = 120.0  # dB: strain at 1 Hz is 1e5 times that at 100 Hz
RESAMPLE_WIDTH = 48.0  # Hz, from pass-band to stop-band around 1,024 Hz
RESAMPLE_ATTENUATION = 80.0  # dB


# --- resampling and high-pass ------------------------------------------------------------------


@functools.cache
def high_pass_taps() -> np.ndarray:
    """Return a linear-phase high-pass at 10 Hz, (4097,): half gain there, nothing below 8 Hz."""
    from scipy.signal import firwin, kaiser_beta

    window = ("kaiser", kaiser_beta(HIGH_PASS_ATTENUATION))
    return firwin(HIGH_PASS_TAPS, MIN_FREQUENCY, window=window, pass_zero=False, fs=SAMPLE_RATE)


@functools.cache
def resampling_taps(rate: int) -> np.ndarray:
    """Return the low-pass at 1,024 Hz of a polyphase resampler from `rate` to 2,048 Hz.

    The gain at 1,024 Hz is one half, so aliases reach down to 1,000 Hz and no further; the
    networks see nothing of a merger there.

    Args:
        rate: Hz, of the strain as it was recorded.

    Returns:
        (taps,) float64, an odd number of them: a delay of whole samples.
    """
    from scipy.signal import firwin, kaiserord

    up = SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
    fine = rate * up  # Hz, after upsampling and before decimation, where the filter acts
    taps, beta = kaiserord(RESAMPLE_ATTENUATION, RESAMPLE_WIDTH / (fine / 2))
    return firwin(taps | 1, SAMPLE_RATE / 2, window=("kaiser", beta), fs=fine)


def count_spoilt_samples(rate: int) -> int:
    """Return how many samples at 2,048 Hz a gap spoils on either side: half of both filters.

    Args:
        rate: Hz, of the strain as it was recorded.
    """
    half = (len(high_pass_taps()) - 1) // 2
    if rate == SAMPLE_RATE:
        return half
    up = SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
    return half + math.ceil((len(resampling_taps(rate)) - 1) / 2 / (rate * up) * SAMPLE_RATE)


def condition_strain(recording: Recording, start: float, count: int) -> np.ndarray:
    """Return a recording's strain at 2,048 Hz, high-passed at 10 Hz.

    The strain is read in pieces of 64 s, so that the memory is that of the result and one piece.

    Args:
        recording: of one detector.
        start: GPS time in s of the first sample.
        count: samples at 2,048 Hz.

    Returns:
        (count,) float32 in 1e-21; NaN where there is no strain or where a filter saw a gap.

    Raises:
        UserError: a file of the recording cannot be read.
    """
    result = np.empty(count, np.float32)
    for first in range(0, count, READ_SECONDS * SAMPLE_RATE):
        wanted = min(READ_SECONDS * SAMPLE_RATE, count - first)
        seconds = math.ceil(wanted / SAMPLE_RATE) + 2 * PADDING_SECONDS
        # (seconds * rate,), with the padding at both ends that the filters need
        raw = recording.read(
            start + first / SAMPLE_RATE - PADDING_SECONDS, seconds * recording.rate
        )
        piece = condition_piece(raw / STRAIN_UNIT, recording.rate)
        skip = PADDING_SECONDS * SAMPLE_RATE
        result[first : first + wanted] = piece[skip : skip + wanted]
    return result


def condition_piece(raw: np.ndarray, rate: int) -> np.ndarray:
    """Resample and high-pass a whole number of seconds of strain.

    Args:
        raw: (seconds * rate,) float64; NaN or infinite where strain is missing.
        rate: Hz.

    Returns:
        (seconds * 2048,) float64; NaN wherever either filter saw a missing sample.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import oaconvolve, resample_poly

    size = len(raw) * SAMPLE_RATE // rate
    missing = ~np.isfinite(raw)
    bad = np.zeros(size, bool)
    bad[np.flatnonzero(missing) * SAMPLE_RATE // rate] = True
    if bad.all():
        return np.full(size, np.nan)
    # Missing samples enter the filters as zeros; whatever they touch is marked below.
    x = np.where(missing, 0.0, raw)
    if rate != SAMPLE_RATE:
        common = math.gcd(rate, SAMPLE_RATE)
        x = resample_poly(x, SAMPLE_RATE // common, rate // common, window=resampling_taps(rate))
    x = oaconvolve(x, high_pass_taps(), mode="same")
    bad = maximum_filter1d(bad.view(np.uint8), 2 * count_spoilt_samples(rate) + 1).astype(bool)
    return np.where(bad, np.nan, x)


# --- the PSD and what whitens by it --------------------------------------------------------------


def median_bias(count: int) -> float:
    """Return the expected median of `count` exponential variables of mean 1.

    A bin of a periodogram of Gaussian noise is exponentially distributed, so this is the ratio of
    the median of `count` periodograms to their mean. It is
    sum (-1)^(i+1) / i for i = 1 to `count`, for an odd count (Allen et al., Physical Review D 85,
    122006 (2012), equation B12).
    """
    odd = count if count % 2 else count - 1
    return sum((-1) ** (i + 1) / i for i in range(1, odd + 1))


def measure_psd(x: np.ndarray) -> np.ndarray | None:
    """Return the PSD of conditioned strain by Welch's method with the median for the mean.

    A merger or a glitch in a few of the pieces hardly changes their median, while it would raise
    their mean (Allen et al. 2012, appendix B). The pieces of 4 s have a Hann window and overlap by
    half; those that touch a gap are left out.

    Args:
        x: (samples,) in 1e-21 at 2,048 Hz; NaN where missing.

    Returns:
        (4097,) float64, one-sided, in (1e-21)^2 / Hz, at every quarter of a hertz; positive. None
        where less than 16 s are clean.
    """
    if len(x) < WELCH_SAMPLES:
        return None
    window = np.hanning(WELCH_SAMPLES + 1)[:-1]
    pieces = np.lib.stride_tricks.sliding_window_view(x, WELCH_SAMPLES)[:: WELCH_SAMPLES // 2]
    pieces = [piece for piece in pieces if np.isfinite(piece).all()]
    if len(pieces) < MIN_WELCH_PIECES:
        return None
    powers = np.empty((len(pieces), WELCH_SAMPLES // 2 + 1))
    for row, piece in zip(powers, pieces, strict=True):
        row[:] = np.abs(np.fft.rfft((piece.astype(np.float64) - piece.mean()) * window)) ** 2
    power = np.median(powers, axis=0) / median_bias(len(pieces))
    power *= 2 / (SAMPLE_RATE * (window**2).sum())
    return raise_to_floor(power)


def raise_to_floor(power: np.ndarray) -> np.ndarray:
    """Return a PSD, (4097,), that is nowhere so small that whitening would blow up its noise.

    The high-pass left next to nothing below 10 Hz, and dividing by that would bring it back. There
    the PSD is raised to the level at 10 Hz times `noise.FLOOR`, as it is for the design curves;
    elsewhere it is only kept above zero.
    """
    frequencies = np.fft.rfftfreq(WELCH_SAMPLES, 1 / SAMPLE_RATE)
    at_edge = power[np.searchsorted(frequencies, MIN_FREQUENCY)]
    tiny = 1e-9 * power.max()
    floor = np.where(frequencies < MIN_FREQUENCY, noise.FLOOR * at_edge, 0.0)
    return np.maximum(power, np.maximum(floor, max(tiny, np.finfo(float).tiny)))


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
