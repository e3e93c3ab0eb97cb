"""Stretches of conditioned strain: which windows may be used, their PSD, and where glitches are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from data.strain_conditioning import measure_psd
from physics.observation import Observation
from simulation.conditioned_strain import ConditionedStrain, StrainRun
from simulation.spectral_whitening import SpectralWhitening

# Excess power is looked for in pieces of these lengths, in s: blips, and longer bursts.
GLITCH_PIECES = (1 / 64, 1 / 8)
MOST_FOR_SCALE = 64  # windows that the scale of a PSD is measured on
QUARTILE = 0.67449  # of a unit Gaussian: the median of its magnitude


@dataclass(frozen=True)
class Intervals:
    """Numbers of samples at which windows may begin, as intervals.

    Attributes:
        first: (intervals,) first number of each.
        count: (intervals,) how many numbers.
    """

    first: np.ndarray
    count: np.ndarray

    @property
    def total(self) -> int:
        return int(self.count.sum())


@dataclass(frozen=True)
class StrainStretch:
    """Some minutes of strain with one PSD.

    Attributes:
        psd: (num_samples + 1,) one-sided, in (1e-21)^2 / Hz.
        offset: GPS time in s of sample 0 of the array, if it lay in the same run.
        clean: where windows may begin.
        glitches: where windows may begin that hold a glitch in their middle half, an interval a
            glitch.
    """

    psd: np.ndarray
    offset: float
    clean: Intervals
    glitches: Intervals = field(repr=False)


def find_stretches(
    strain: ConditionedStrain,
    observation: Observation,
    seconds: float,
    allowed: Sequence[tuple[float, float]] | None,
    vetoed: Sequence[tuple[float, float]],
    glitch_threshold: float | None,
) -> list[StrainStretch]:
    """Divide strain into stretches and measure them.

    Args:
        strain: of one detector.
        observation: gives the rate and the window.
        seconds: about the length of a stretch.
        allowed: GPS segments that windows must lie in; None for all.
        vetoed: GPS segments that windows must not touch.
        glitch_threshold: of excess power, in standard deviations; None looks for none.

    Returns:
        Those with enough clean strain for a PSD and for a window.
    """
    rate = observation.sample_rate
    found = []
    for run in strain.runs:
        pieces = max(1, round(run.count / (seconds * rate)))
        edges = np.linspace(run.first, run.first + run.count, pieces + 1).round().astype(int)
        for first, last in itertools.pairwise(edges):
            stretch = measure_stretch(
                strain.values[first:last],
                int(first),
                usable_samples(run, int(first), int(last), rate, allowed, vetoed),
                run.start - run.first / rate,
                observation,
                glitch_threshold,
            )
            if stretch is not None:
                found.append(stretch)
    return found


def usable_samples(
    run: StrainRun,
    first: int,
    last: int,
    rate: int,
    allowed: Sequence[tuple[float, float]] | None,
    vetoed: Sequence[tuple[float, float]],
) -> np.ndarray:
    """Return which samples, numbers first to last - 1, lie in allowed and in no vetoed segments."""
    origin = run.start + (first - run.first) / rate  # GPS of the first sample
    usable = np.full(last - first, allowed is None)

    def part(start: float, end: float) -> slice:
        bounds = np.array([np.ceil((start - origin) * rate), np.ceil((end - origin) * rate)])
        low, high = np.clip(bounds, 0, last - first).astype(int)
        return slice(low, high)

    for segment in allowed or ():
        usable[part(*segment)] = True
    for segment in vetoed:
        usable[part(*segment)] = False
    return usable


def measure_stretch(
    values: np.ndarray,
    first: int,
    usable: np.ndarray,
    offset: float,
    observation: Observation,
    glitch_threshold: float | None,
) -> StrainStretch | None:
    """Return a stretch, or None where too little of it is clean.

    Args:
        values: (samples,) in 1e-21, NaN in gaps.
        first: number of the first of them in the array.
        usable: (samples,) which of them windows may touch.
        offset: GPS time of sample 0 of the array.
        observation: gives the rate and the window.
        glitch_threshold: of excess power; None looks for no glitches.
    """
    finite = np.isfinite(values)
    psd = measure_psd(np.where(usable, values, np.nan), observation)
    starts = find_starts(finite, usable, observation.num_samples)  # (samples,) bool
    if psd is None or not starts.any():
        return None
    psd = scale_psd(psd, values, starts, observation)
    glitches = Intervals(np.zeros(0, np.int64), np.zeros(0, np.int64))
    if glitch_threshold is not None:
        peaks = find_glitches(values, finite, psd, observation, glitch_threshold)
        glitches = starts_around(peaks, starts, observation.num_samples)
    clean = intervals_of(starts)
    return StrainStretch(
        psd,
        offset,
        Intervals(clean.first + first, clean.count),
        Intervals(glitches.first + first, glitches.count),
    )


def find_starts(finite: np.ndarray, usable: np.ndarray, n: int) -> np.ndarray:
    """Return at which samples a window of n may begin.

    The window is usable and finite, and so that it can be whitened with the strain around it, n
    samples on either side are finite as well.
    """
    starts = np.zeros(len(finite), bool)
    if len(finite) < 3 * n:
        return starts
    # missing[i] counts the missing samples before sample i.
    missing = np.concatenate([[0], np.cumsum(~finite)])
    barred = np.concatenate([[0], np.cumsum(~usable)])
    s = np.arange(n, len(finite) - 2 * n + 1)
    starts[s] = (missing[s + 2 * n] == missing[s - n]) & (barred[s + n] == barred[s])
    return starts


def intervals_of(mask: np.ndarray) -> Intervals:
    """Return the stretches of ones of a mask (samples,)."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], mask.view(np.int8), [0]])))
    first, end = steps[::2], steps[1::2]
    return Intervals(first.astype(np.int64), (end - first).astype(np.int64))


def cut_context(values: np.ndarray, starts: np.ndarray, n: int) -> np.ndarray:
    """Return windows of n samples with n samples on either side, (windows, 3 n), a copy."""
    views = np.lib.stride_tricks.sliding_window_view(values, 3 * n)
    return views[starts - n]


def whiten_context(
    context: torch.Tensor, psd_numbers: torch.Tensor, whitening: SpectralWhitening
) -> torch.Tensor:
    """Return the whitened windows in the middle of what `cut_context` returns.

    Args:
        context: (..., 3 n) in 1e-21.
        psd_numbers: (...,).
        whitening: of these PSDs.
    """
    return whitening.whiten_window(context, psd_numbers, whitening.length)


def scale_psd(
    psd: np.ndarray, values: np.ndarray, starts: np.ndarray, observation: Observation
) -> np.ndarray:
    """Return a PSD that whitens most of its strain to unit variance.

    A PSD of few pieces is itself noisy, and dividing by a noisy estimate overshoots on average.
    The scale, from the median of the whitened strain's magnitude, takes that back, as the search
    does; loud signals and glitches hardly change it.
    """
    n = observation.num_samples
    numbers = np.flatnonzero(starts)
    # As far apart as half a window, or all there are.
    chosen = numbers[:: max(1, n // 2)][:MOST_FOR_SCALE]
    whitening = SpectralWhitening(psd[None], observation)
    context = torch.from_numpy(cut_context(values, chosen, n))
    white = whiten_context(context, torch.zeros(len(chosen), dtype=torch.long), whitening)
    deviation = float(white.abs().median()) / QUARTILE
    return psd * deviation**2 if deviation > 0 else psd


def find_glitches(
    values: np.ndarray,
    finite: np.ndarray,
    psd: np.ndarray,
    observation: Observation,
    threshold: float,
) -> np.ndarray:
    """Return the samples at which whitened strain has more power than Gaussian noise would.

    The power of k whitened samples of Gaussian noise is chi-squared, of mean k and variance 2 k.
    Pieces of two lengths are looked at, and peaks within half a window are one.

    Args:
        values: (samples,) in 1e-21.
        finite: which of them are there.
        psd: by which they are whitened.
        observation: gives the rate and the window.
        threshold: standard deviations of the power above its mean.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import find_peaks

    size = len(values) // 2 * 2
    whitening = SpectralWhitening(psd[None], observation)
    x = torch.from_numpy(np.where(finite, values, 0.0).astype(np.float32)[:size])
    # Within a window's length of an end or a gap the result is wrong, and no window is there.
    white = whitening.whiten_stretch(x, torch.tensor(0)).numpy()
    excess = np.zeros(size)
    for seconds in GLITCH_PIECES:
        k = max(round(seconds * observation.sample_rate), 2)
        mean = uniform_filter1d(white.astype(np.float64) ** 2, k)
        # (k mean - k) / sqrt(2 k)
        excess = np.maximum(excess, (mean - 1) * np.sqrt(k / 2))
    peaks, _ = find_peaks(excess, height=threshold, distance=observation.num_samples // 2)
    return peaks


def starts_around(peaks: np.ndarray, starts: np.ndarray, n: int) -> Intervals:
    """Return where windows may begin that hold a peak in their middle half, an interval a peak.

    Peaks around which a window may not begin at some of these samples are left out.
    """
    before = np.concatenate([[0], np.cumsum(starts)])
    first, end = peaks - 3 * n // 4, peaks - n // 4
    inside = (first >= 0) & (end <= len(starts))
    first, end = first[inside], end[inside]
    whole = before[end] - before[first] == end - first
    return Intervals(first[whole].astype(np.int64), (end - first)[whole].astype(np.int64))
