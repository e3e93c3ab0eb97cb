"""PSDs that follow the noise of a detector through a stretch of strain.

Two things change in the noise of a detector. Its shape, with lines a fraction of a Hz wide, changes
over many minutes, and the median of some hundred periodograms is needed to know each bin to a few
per cent. Its level goes up and down within a minute, in wide bands at once. So a PSD is measured as
a product: a shape out of ten minutes times, every `psd_every` seconds, a level in each of some
bands, out of hundreds of bins and so to a few per cent as well.

Even that scatter costs: false alarms fall off exponentially with the score, so that windows whose
level was taken too low by 3 % would make more of the false alarms than they are. In noise that does
not change, levels are therefore not followed: each band's levels are drawn towards their mean as
far as their own scatter explains how they differ (the estimator of James and Stein). Strain is in
units of 1e-21.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.strain_conditioning import MIN_WELCH_PIECES, median_bias, raise_to_floor, welch_samples
from data.whitening_filter import whiten_periodic
from physics.observation import Observation

SHAPE_SECONDS = 512.0  # of strain, at least, that share a shape where the stretch is so long
MIN_LEVEL_PIECES = 5  # that a level is measured in; in gaps the nearest ones in time are taken
BAND_RATIO = math.sqrt(2)  # of the upper to the lower end of a band
MOST_LEVEL_BINS = 2000  # that a level is the median of: a few per cent of scatter are enough
MIN_BAND_BINS = 24  # of a band: no narrower than 6 Hz where bins are 1/4 Hz apart
# The variance of the logarithm of a median over n bins of whitened periodograms is this over n. For
# independent exponential variables it is 1 / (ln 2)^2 = 2.1. The Hann window makes neighbours
# alike, and pieces overlap by half: 3.4 to 4 was measured on Gaussian noise.
MEDIAN_VARIANCE = 4.0
# A jump of the level: of its logarithm, so that a third more or a quarter less power counts, and at
# least so many pieces, a quarter of a minute, from the next one.
LEAST_JUMP = 0.3
JUMP_PIECES = 7
MOST_JUMP_BINS = 512  # that show it; they scatter by a twelfth
QUARTILE = 0.67449  # of a unit Gaussian: the median of its magnitude


@dataclass(frozen=True)
class TrackedPSD:
    """The PSD of the noise between two times.

    Attributes:
        start: GPS time in s from which on it is valid.
        end: GPS time in s up to which it is valid.
        power: (num_samples + 1,) float64, one-sided, in (1e-21)^2 / Hz, positive, at every half of
            1 / window; see `strain_conditioning.measure_psd`.
    """

    start: float
    end: float
    power: np.ndarray


@dataclass(frozen=True)
class Periodograms:
    """The power in overlapping pieces of strain.

    Attributes:
        middle: (pieces,) s after the first sample of the strain, in order.
        power: (pieces, bins) float32, one-sided, in (1e-21)^2 / Hz.
    """

    middle: np.ndarray
    power: np.ndarray

    def nearest(self, begin: float, end: float, least: int) -> np.ndarray:
        """Return the pieces in the middle of which lies begin to end s, or the `least` nearest."""
        distance = np.maximum(np.maximum(begin - self.middle, self.middle - end), 0)
        inside = np.flatnonzero(distance == 0)
        if len(inside) >= least:
            return inside
        return np.sort(np.argsort(distance, kind="stable")[:least])


def measure_tracked_psds(
    x: np.ndarray, usable: np.ndarray, start: float, observation: Observation, psd_every: float
) -> list[TrackedPSD] | None:
    """Measure how the PSD of conditioned strain changes.

    Args:
        x: (samples,) in 1e-21 at the observation's rate, finite.
        usable: (samples,) bool: what may be measured.
        start: GPS time in s of the first sample.
        observation: gives the rate and the length of a window.
        psd_every: s, about, for which one PSD is valid.

    Returns:
        In order of time; the first begins where the strain begins, each next one where the last
        ends, and the last where the strain ends. None where there are less than
        `MIN_WELCH_PIECES` usable pieces of two windows' length.
    """
    rate = observation.sample_rate
    pieces = measure_periodograms(x, usable, observation)
    if len(pieces.middle) < MIN_WELCH_PIECES:
        return None
    seconds = len(x) / rate
    psds: list[TrackedPSD] = []
    for begin, end in divide_evenly(seconds, max(SHAPE_SECONDS, psd_every)):
        rows = pieces.nearest(begin, end, MIN_WELCH_PIECES)
        # Along the last axis of a copy: numpy finds medians across rows three times as slowly.
        powers = np.ascontiguousarray(pieces.power[rows].T)
        shape = np.median(powers, axis=1, overwrite_input=True) / median_bias(len(rows))
        shape = raise_to_floor(shape.astype(np.float64), observation)
        # Between two jumps the time is divided evenly.
        jumps = find_jumps(pieces, (begin, end), shape, observation)
        runs = [
            [(first + low, first + high) for low, high in divide_evenly(last - first, psd_every)]
            for first, last in itertools.pairwise([begin, *jumps, end])
        ]
        parts = [part for run in runs for part in run]
        levels = follow_levels(pieces, runs, shape, observation)  # (parts, bins)
        followed = [
            TrackedPSD(start + first, start + last, shape * level)
            for (first, last), level in zip(parts, levels, strict=True)
        ]
        psds += scale_to_unit_variance(x, usable, start, followed, rate)
    return psds


def measure_periodograms(
    x: np.ndarray, usable: np.ndarray, observation: Observation
) -> Periodograms:
    """Return the power in pieces of two windows' length that are usable, overlapping by half.

    Args:
        x: (samples,) in 1e-21.
        usable: (samples,) bool.
        observation: gives the rate and the length of a window.
    """
    from scipy import fft

    size, rate = welch_samples(observation), observation.sample_rate
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]]).view(np.int8)))
    # Pieces begin where each usable run begins, so that a gap costs as little as possible.
    first = np.array(
        [
            begin
            for low, high in edges.reshape(-1, 2)
            for begin in range(low, high - size + 1, size // 2)
        ],
        np.int64,
    )
    power = np.empty((len(first), size // 2 + 1), np.float32)
    for row, begin in zip(power, first, strict=True):
        spectrum = fft.rfft(x[begin : begin + size] * window)
        row[:] = spectrum.real**2 + spectrum.imag**2
    power *= 2 / (rate * float((window.astype(np.float64) ** 2).sum()))
    return Periodograms((first + size / 2) / rate, power)


def divide_evenly(seconds: float, longest: float) -> list[tuple[float, float]]:
    """Return the parts of a time, of one length, as close to `longest` s as possible."""
    count = max(1, round(seconds / longest))
    return list(itertools.pairwise(np.linspace(0, seconds, count + 1).tolist()))


def whiten_by_psds(
    x: np.ndarray, start: float, psds: Sequence[TrackedPSD], rate: int
) -> np.ndarray:
    """Return strain whitened by PSDs, each for its time.

    Args:
        x: (samples,) in 1e-21, finite; zeros are assumed beyond its ends.
        start: GPS time in s of the first sample.
        psds: in order of time, one after the other; they may cover a part of the strain.
        rate: Hz.

    Returns:
        (samples,) float32 of unit variance, from the start of the first PSD to the end of the last.
    """
    from scipy import fft

    parts = []
    for psd in psds:
        begin, end = round((psd.start - start) * rate), round((psd.end - start) * rate)
        n = len(psd.power) - 1  # the reach of the filter
        # (n zeros or samples before, the samples wanted, n after, zeros up to a fast length)
        padded = np.zeros(fft.next_fast_len(end - begin + 2 * n, real=True), np.float32)
        low, high = max(begin - n, 0), min(end + n, len(x))
        padded[low - begin + n : high - begin + n] = x[low:high]
        parts.append(whiten_periodic(padded, psd.power, rate)[n : n + end - begin])
    return np.concatenate(parts)


def scale_to_unit_variance(
    x: np.ndarray, usable: np.ndarray, start: float, psds: Sequence[TrackedPSD], rate: int
) -> list[TrackedPSD]:
    """Return PSDs scaled by one factor, so that most of the strain they whiten has unit variance.

    A PSD of few pieces is itself noisy, and dividing by a noisy estimate overshoots on average. The
    median of the magnitude of all whitened strain takes that back; loud signals and glitches hardly
    change it.

    Args:
        x: (samples,) in 1e-21, finite.
        usable: (samples,) bool.
        start: GPS time in s of the first sample.
        psds: in order of time, one after the other.
        rate: Hz.
    """
    white = whiten_by_psds(x, start, psds, rate)
    first = round((psds[0].start - start) * rate)
    # every fourth sample: neighbours are alike, and minutes hold enough
    magnitude = np.abs(white[::4][usable[first : first + len(white) : 4]])
    deviation = float(np.median(magnitude)) / QUARTILE if len(magnitude) else 0.0
    scale = deviation**2 if deviation > 0 else 1.0  # nothing usable: the PSD is a neighbour's
    return [replace(psd, power=psd.power * scale) for psd in psds]


def list_bands(observation: Observation) -> list[slice]:
    """Return the bands in which levels are followed, as bins of a PSD, the lowest first.

    A band reaches from some frequency to `BAND_RATIO` times that, and has at least `MIN_BAND_BINS`.
    """
    bins = observation.num_samples  # at half the rate
    first = math.ceil(
        observation.min_frequency * welch_samples(observation) / observation.sample_rate
    )
    bands = []
    while first < bins:
        last = max(math.ceil(first * BAND_RATIO), first + MIN_BAND_BINS)
        if bins - last < MIN_BAND_BINS:  # what is left would be too narrow
            last = bins
        bands.append(slice(first, last))
        first = last
    return bands


def find_jumps(
    pieces: Periodograms, span: tuple[float, float], shape: np.ndarray, observation: Observation
) -> list[float]:
    """Return when the level of the noise jumps by more than `LEAST_JUMP` in a third of the bands.

    Args:
        pieces: power of pieces of strain.
        span: begin and end of the time to look at, s after the first sample of the strain.
        shape: (bins,) the PSD that all of it has in common.
        observation: gives the bands.

    Returns:
        Times in order, s after the first sample, each a few pieces or more from the others.
    """
    from scipy.ndimage import median_filter

    rows = np.flatnonzero((pieces.middle >= span[0]) & (pieces.middle < span[1]))
    if len(rows) < 2 * JUMP_PIECES:
        return []
    bands = list_bands(observation)
    thirds = [group[0].start for group in np.array_split(np.array(bands, object), 3) if len(group)]
    edges = [*thirds, bands[-1].stop]
    level = np.empty((len(rows), len(thirds)))
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        every = math.ceil((high - low) / MOST_JUMP_BINS)
        white = pieces.power[rows[0] : rows[-1] + 1, low:high:every] / shape[low:high:every]
        level[:, place] = np.log(np.median(white.astype(np.float32), axis=1) / math.log(2))
    # A glitch lies in two or three pieces: the median of seven hardly feels it, and keeps jumps.
    level = median_filter(level, size=(JUMP_PIECES, 1), mode="nearest")
    cuts = split_at_jumps(level, 0, len(level))
    middle = pieces.middle[rows]
    return [float(middle[cut - 1] + middle[cut]) / 2 for cut in cuts]


def split_at_jumps(level: np.ndarray, first: int, last: int) -> list[int]:
    """Return the rows between `first` and `last` at which a new level begins, in order.

    The row is taken that divides the rows into two parts, each with its mean, with the least
    squared deviations; then both parts are looked at in the same way (binary segmentation).

    Args:
        level: (rows, bands) logarithms of levels.
        first: row that is looked at first.
        last: the one after the last.
    """
    count = last - first
    if count < 2 * JUMP_PIECES:
        return []
    total = np.cumsum(level[first:last], axis=0)  # (count, bands)
    before = np.arange(1, count)[:, None]
    after = count - before
    difference = (total[-1] - total[:-1]) / after - total[:-1] / before  # of the means
    # With parts of n and m rows, dividing takes n m / (n + m) difference^2 off the deviations.
    gain = (difference**2).sum(axis=1) * (before * after / count)[:, 0]
    gain[: JUMP_PIECES - 1] = gain[count - JUMP_PIECES :] = -1  # too few rows on one side
    best = int(np.argmax(gain))
    if np.abs(difference[best]).max() < LEAST_JUMP:
        return []
    cut = first + best + 1
    return [*split_at_jumps(level, first, cut), cut, *split_at_jumps(level, cut, last)]


def follow_levels(
    pieces: Periodograms,
    runs: Sequence[Sequence[tuple[float, float]]],
    shape: np.ndarray,
    observation: Observation,
) -> np.ndarray:
    """Return the quotient of the PSD in each part of the time and the shape, (parts, bins).

    Args:
        pieces: power of pieces of strain.
        runs: of parts between which the level does not jump; begin and end of each part, s after
            the first sample of the strain.
        shape: (bins,) the PSD that all have in common.
        observation: gives the bands.
    """
    parts = [part for run in runs for part in run]
    if len(parts) == 1:
        return np.ones((1, len(shape)))
    bands = list_bands(observation)
    logs = np.empty((len(parts), len(bands)))
    variance = np.empty_like(logs)
    inverse = (1 / shape).astype(np.float32)
    for number, (begin, end) in enumerate(parts):
        rows = pieces.nearest(begin, end, MIN_LEVEL_PIECES)
        white = pieces.power[rows[0] : rows[-1] + 1] * inverse
        white = white[rows - rows[0]]  # (rows, bins), exponential variables of mean `level`
        for place, band in enumerate(bands):
            every = math.ceil(len(rows) * (band.stop - band.start) / MOST_LEVEL_BINS)
            cells = white[:, band.start : band.stop : every]
            # The median of cells, in time and in frequency: neither a glitch in a few pieces nor
            # a line that comes and goes moves it.
            # (`np.median` takes twice as long; of hundreds, either of the middle two will do)
            middle = cells.size // 2
            level = np.partition(cells, middle, axis=None)[middle] / math.log(2)
            logs[number, place] = math.log(level)
            variance[number, place] = MEDIAN_VARIANCE / cells.size
    first = 0
    for run in runs:
        own = slice(first, first + len(run))
        logs[own] = shrink_to_mean(logs[own], variance[own])
        first += len(run)
    # Between the middles of bands, a level changes evenly with the logarithm of the frequency.
    middles = [math.log((band.start + band.stop) / 2) for band in bands]
    bins = np.log(np.maximum(np.arange(len(shape)), 1))
    return np.exp(np.stack([np.interp(bins, middles, row) for row in logs]))


def shrink_to_mean(values: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return values drawn towards their mean as far as their own errors explain their scatter.

    With errors of variance v and values that scatter with the variance V about their mean, (V - v)
    is that of the true values, and the best estimate of one is mean + (1 - v / V) (value - mean).

    Args:
        values: (parts, bands).
        variance: (parts, bands) of the error of each.
    """
    count = len(values)
    mean = np.median(values, axis=0)
    scatter = ((values - mean) ** 2).sum(axis=0)
    # count - 3 and not count - 1: James and Stein, for the inverse of the scatter.
    kept = 1 - (count - 3) * variance.mean(axis=0) / np.maximum(scatter, 1e-300)
    return mean + np.clip(kept, 0, 1) * (values - mean)
