"""Conditioning of recorded strain: resampled, high-passed, and its PSD measured.

The networks are trained at the rate of an observation, on noise without anything below its lowest
frequency. Two filters of finite length bring recorded strain there; because they are finite, it is
known exactly which samples a gap spoils. Runs of equal samples are gaps too: no detector measures
the same number five times, but drop-outs, saturation and files that were filled up show it. Strain
is in units of 1e-21 throughout. "The rate" below is that of the observation.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from data.recording import Recording
from physics import noise
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError

# Read at once. With the padding that makes 64 s, a power of two at the usual rates: fast to
# transform, and small enough for the caches of a processor.
READ_SECONDS = 60
PADDING_SECONDS = 2  # read beyond either end; more than half of both filters together
# No five samples of a detector are equal. Written with 32 bits, strain of LIGO has steps of 1e-26
# and moves by 2e-20 from sample to sample: two are equal once in 10^6, five once in 10^24.
EQUAL_SAMPLES = 5
LOUDEST = 1e9  # 1e-12 in strain. Of the median, which glitches do not move
SIZED_SAMPLES = 16  # every so many are looked at
MIN_WELCH_PIECES = 7  # half overlapping. The median of fewer is too rough to whiten with
PIECES_AT_A_TIME = 8  # whose transforms stay in a cache
HIGH_PASS_SECONDS = 2
HIGH_PASS_ATTENUATION = 120.0  # dB: strain at 1 Hz is 1e5 times that at 100 Hz
RESAMPLE_WIDTH = 48.0  # Hz, from pass-band to stop-band around half the rate
RESAMPLE_ATTENUATION = 80.0  # dB


# --- resampling and high-pass ------------------------------------------------------------------


@functools.cache
def high_pass_taps(sample_rate: int, min_frequency: float) -> np.ndarray:
    """Return a linear-phase high-pass of 2 s, (2 sample_rate + 1,).

    Half gain at `min_frequency`, nothing 2 Hz below it.
    """
    from scipy.signal import firwin, kaiser_beta

    taps = HIGH_PASS_SECONDS * sample_rate + 1
    window = ("kaiser", kaiser_beta(HIGH_PASS_ATTENUATION))
    return firwin(taps, min_frequency, window=window, pass_zero=False, fs=sample_rate)


@functools.cache
def resampling_taps(rate: int, sample_rate: int) -> np.ndarray:
    """Return the low-pass of a polyphase resampler from `rate` to `sample_rate`.

    The gain at half the new rate is one half, so aliases reach 24 Hz below it and no further; the
    networks see nothing of a merger there.

    Args:
        rate: Hz, of the strain as it was recorded.
        sample_rate: Hz, wanted.

    Returns:
        (taps,) float64, an odd number of them: a delay of whole samples.
    """
    from scipy.signal import firwin, kaiserord

    up = sample_rate // math.gcd(rate, sample_rate)
    fine = rate * up  # Hz, after upsampling and before decimation, where the filter acts
    taps, beta = kaiserord(RESAMPLE_ATTENUATION, RESAMPLE_WIDTH / (fine / 2))
    return firwin(taps | 1, sample_rate / 2, window=("kaiser", beta), fs=fine)


def count_spoilt_samples(rate: int, observation: Observation = COMPETITION) -> int:
    """Return how many samples at the rate a gap spoils on either side: half of both filters.

    Args:
        rate: Hz, of the strain as it was recorded.
        observation: what it is brought to.
    """
    sample_rate = observation.sample_rate
    half = HIGH_PASS_SECONDS * sample_rate // 2
    if rate == sample_rate:
        return half
    up = sample_rate // math.gcd(rate, sample_rate)
    taps = len(resampling_taps(rate, sample_rate))
    return half + math.ceil((taps - 1) / 2 / (rate * up) * sample_rate)


def condition_strain(
    recording: Recording, start: float, count: int, observation: Observation = COMPETITION
) -> np.ndarray:
    """Return a recording's strain at the rate, high-passed at the lowest frequency.

    The strain is read piece by piece, so that the memory is that of the result and one piece.
    Runs of equal samples are gaps.

    Args:
        recording: of one detector.
        start: GPS time in s of the first sample.
        count: samples at the rate.
        observation: what it is brought to.

    Returns:
        (count,) float32 in 1e-21; NaN where there is no strain or where a filter saw a gap.

    Raises:
        UserError: a file of the recording cannot be read, or its strain is far too large.
    """
    sample_rate = observation.sample_rate
    result = np.empty(count, np.float32)
    skip = PADDING_SECONDS * sample_rate
    for first in range(0, count, READ_SECONDS * sample_rate):
        wanted = min(READ_SECONDS * sample_rate, count - first)
        seconds = math.ceil(wanted / sample_rate) + 2 * PADDING_SECONDS
        # (seconds * rate,), with the padding at both ends that the filters need
        begin = start + first / sample_rate - PADDING_SECONDS
        raw = recording.read(begin, seconds * recording.rate)
        raw = np.where(find_equal_samples(raw), np.nan, raw / STRAIN_UNIT)
        piece = condition_piece(raw, recording.rate, observation)
        result[first : first + wanted] = piece[skip : skip + wanted]
    check_size(result, recording, start)
    return result


def check_size(x: np.ndarray, recording: Recording, start: float) -> None:
    """Refuse conditioned strain of a size that no detector records and float32 cannot square.

    Args:
        x: (samples,) in 1e-21.
        recording: that it is of.
        start: GPS time in s of its first sample.

    Raises:
        UserError: its median magnitude is above `LOUDEST`.
    """
    some = x[::SIZED_SAMPLES]
    some = some[np.isfinite(some)]
    size = float(np.median(np.abs(some))) if len(some) else 0.0
    if size > LOUDEST:
        source = next((one for one in reversed(recording.sources) if one.start <= start), None)
        name = (source or recording.sources[0]).name
        raise UserError(
            f"{name}: strain of {recording.detector} with a median "
            f"magnitude of {size * STRAIN_UNIT:.2g} at GPS {start:.0f}: expected strain as "
            f"recorded, of 1e-20 or less, neither whitened nor scaled: give the file as it was "
            f"recorded"
        )


def find_equal_samples(raw: np.ndarray, least: int = EQUAL_SAMPLES) -> np.ndarray:
    """Return which samples lie in a run of at least `least` equal ones, (samples,) bool.

    Args:
        raw: (samples,) as recorded; NaN equals nothing.
        least: length of a run, in samples.
    """
    found = np.zeros(len(raw), bool)
    repeats = np.concatenate([[False], raw[1:] == raw[:-1], [False]])
    # A run of repeats begins or ends where its neighbour is another.  (edges,) -> (runs, 2)
    runs = np.flatnonzero(repeats[1:] != repeats[:-1]).reshape(-1, 2)
    # n repeats are n + 1 equal samples
    for begin, end in runs[runs[:, 1] - runs[:, 0] + 1 >= least]:
        found[begin : end + 1] = True
    return found


def condition_piece(
    raw: np.ndarray, rate: int, observation: Observation = COMPETITION
) -> np.ndarray:
    """Resample and high-pass a whole number of seconds of strain.

    The piece is taken as periodic: either end sees the other through the filters.

    Args:
        raw: (seconds * rate,) float64; NaN or infinite where strain is missing.
        rate: Hz, of the strain as it was recorded.
        observation: what it is brought to.

    Returns:
        (seconds * sample_rate,) float64; NaN wherever either filter saw a missing sample.
    """
    from scipy import fft
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import resample_poly

    sample_rate = observation.sample_rate
    size = len(raw) * sample_rate // rate
    missing = ~np.isfinite(raw)
    if missing.all():
        return np.full(size, np.nan)
    # Missing samples enter the filters as zeros; whatever they touch is marked below.
    x = np.where(missing, 0.0, raw)
    factor = rate // sample_rate
    if rate % sample_rate:  # such as 20,000 Hz to 2,048 Hz
        common = math.gcd(rate, sample_rate)
        taps = resampling_taps(rate, sample_rate)
        x, factor = resample_poly(x, sample_rate // common, rate // common, window=taps), 1
    if size % 2:  # an odd rate and an odd number of seconds
        x = np.pad(x, (0, len(x)))
    # In float64: strain at 1 Hz is 1e5 times that at 100 Hz, and float32 has seven digits.
    spectrum = fft.rfft(x)
    if factor > 1:
        spectrum *= low_pass_gain(rate, sample_rate, len(x))
        spectrum = fold_spectrum(spectrum, factor)
    count = len(x) // factor
    spectrum *= high_pass_gain(sample_rate, observation.min_frequency, count)
    x = fft.irfft(spectrum, count)[:size]
    if missing.any():
        bad = np.zeros(size, bool)
        bad[np.flatnonzero(missing) * sample_rate // rate] = True
        reach = 2 * count_spoilt_samples(rate, observation) + 1
        x[maximum_filter1d(bad.view(np.uint8), reach).astype(bool)] = np.nan
    return x


def fold_spectrum(spectrum: np.ndarray, factor: int) -> np.ndarray:
    """Return the spectrum of every `factor`-th sample of a series.

    Sampled at a lower rate, the frequencies k + m N all look like k, for N samples after the
    decimation and every m: Y[k] = sum over m of X[k + m N] / factor.

    Args:
        spectrum: (bins,) of `rfft` of the series, of factor N samples.
        factor: how many samples become one.

    Returns:
        (N / 2 + 1,), for an even N.
    """
    half = (len(spectrum) - 1) // factor  # N / 2
    folded = spectrum[: half + 1].copy()
    # The half spectrum in strips of N / 2 bins. In every other strip, frequencies fold back from
    # N: there X[m N - k], which is the conjugate of X[k - m N].
    for strip in range(1, factor):
        part = spectrum[strip * half : (strip + 1) * half + 1]
        folded += part[::-1].conj() if strip % 2 else part
    return folded / factor


@functools.lru_cache(maxsize=8)
def low_pass_gain(rate: int, sample_rate: int, count: int) -> np.ndarray:
    """Return the gain of `resampling_taps` at the frequencies of `count` samples at `rate`."""
    return zero_phase_gain(resampling_taps(rate, sample_rate), count)


@functools.lru_cache(maxsize=8)
def high_pass_gain(sample_rate: int, min_frequency: float, count: int) -> np.ndarray:
    """Return the gain of `high_pass_taps` at the frequencies of `count` samples."""
    return zero_phase_gain(high_pass_taps(sample_rate, min_frequency), count)


def zero_phase_gain(taps: np.ndarray, count: int) -> np.ndarray:
    """Return the frequency response of a filter that is even in time, (count // 2 + 1,) float64.

    Args:
        taps: an odd number of them, the same forwards and backwards.
        count: samples that the filter is applied to; they are taken as periodic.
    """
    lags = np.arange(len(taps)) - len(taps) // 2
    # What is longer than the series wraps around.
    series = np.bincount(lags % count, weights=taps, minlength=count)
    return np.fft.rfft(series).real


# --- the PSD -------------------------------------------------------------------------------------


def median_bias(count: int) -> float:
    """Return the expected median of `count` exponential variables of mean 1.

    A bin of a periodogram of Gaussian noise is exponentially distributed, so this is the ratio of
    the median of `count` periodograms to their mean. It is
    sum (-1)^(i+1) / i for i = 1 to `count`, for an odd count (Allen et al., Physical Review D 85,
    122006 (2012), equation B12).
    """
    odd = count if count % 2 else count - 1
    return sum((-1) ** (i + 1) / i for i in range(1, odd + 1))


def welch_samples(observation: Observation = COMPETITION) -> int:
    """Return the length of a piece of Welch's method: C of a window needs lags of a window."""
    return 2 * observation.num_samples


def measure_psd(x: np.ndarray, observation: Observation = COMPETITION) -> np.ndarray | None:
    """Return the PSD of conditioned strain by Welch's method with the median for the mean.

    A merger or a glitch in a few of the pieces hardly changes their median, while it would raise
    their mean (Allen et al. 2012, appendix B). The pieces of two windows' length have a Hann window
    and overlap by half; those that touch a gap are left out.

    Args:
        x: (samples,) in 1e-21 at the rate; NaN where missing.
        observation: gives the rate and the length of a window.

    Returns:
        (num_samples + 1,) float64, one-sided, in (1e-21)^2 / Hz, at every half of 1 / window;
        positive. None where less than eight windows' length are clean (16 s for windows of 2 s).
    """
    size = welch_samples(observation)
    if len(x) < size:
        return None
    window = np.hanning(size + 1)[:-1]
    pieces = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 2]  # (piece, time)
    clean = np.flatnonzero([np.isfinite(piece).all() for piece in pieces])
    if len(clean) < MIN_WELCH_PIECES:
        return None
    powers = np.empty((len(clean), size // 2 + 1))
    for first in range(0, len(clean), PIECES_AT_A_TIME):
        some = pieces[clean[first : first + PIECES_AT_A_TIME]].astype(np.float64)
        some -= some.mean(axis=1, keepdims=True)
        spectra = np.fft.rfft(some * window)
        rows = powers[first : first + len(some)]
        np.square(spectra.real, out=rows)
        rows += np.square(spectra.imag)
    powers.sort(axis=0)  # many times as fast as a partition, where numpy sorts with vectors
    middle = (len(clean) - 1) // 2, len(clean) // 2
    power = (powers[middle[0]] + powers[middle[1]]) / 2 / median_bias(len(clean))
    power *= 2 / (observation.sample_rate * (window**2).sum())
    return raise_to_floor(power, observation)


def raise_to_floor(power: np.ndarray, observation: Observation = COMPETITION) -> np.ndarray:
    """Return a PSD, (num_samples + 1,), that is nowhere too small to whiten with.

    The high-pass left next to nothing below the lowest frequency, and dividing by that would bring
    it back. There the PSD is raised to the level at that frequency times `noise.FLOOR`, as it is
    for the design curves; elsewhere it is only kept above zero.
    """
    frequencies = np.fft.rfftfreq(welch_samples(observation), 1 / observation.sample_rate)
    lowest = observation.min_frequency
    at_edge = power[np.searchsorted(frequencies, lowest)]
    tiny = 1e-9 * power.max()
    floor = np.where(frequencies < lowest, noise.FLOOR * at_edge, 0.0)
    return np.maximum(power, np.maximum(floor, max(tiny, np.finfo(float).tiny)))
