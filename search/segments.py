"""Segments: some minutes of strain of all detectors, conditioned, with one whitening for each.

The noise of a detector changes over minutes, so each segment has its own PSD. A segment is loaded,
scored and forgotten; a search of hours needs no more memory than one of minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from data.recording import Recording
from data.strain_conditioning import condition_strain
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION
from runtime.console import LOGGER
from runtime.seeds import counted_seed
from search.conditioning import make_design_noise, make_whitening_matrix
from search.settings import SearchSettings, psd_seconds

COMPETITION_ARRIVAL = COMPETITION_POPULATION.middle_arrival(COMPETITION.window)


@dataclass(frozen=True)
class WindowGrid:
    """The windows of a search, by number.

    Attributes:
        start: GPS time in s of the first sample.
        step: seconds between the starts of successive windows.
        count: windows that fit.
        observation: gives the rate and the length of a window.
        arrival: of the merger that a window shows best, s after the window begins.
    """

    start: float
    step: float
    count: int
    observation: Observation = COMPETITION
    arrival: float = COMPETITION_ARRIVAL

    def first_sample(self, number: int | np.ndarray) -> np.ndarray:
        """Return the first sample of a window, int64, at the rate and counted from `start`."""
        rate = self.observation.sample_rate
        return np.round(np.asarray(number) * self.step * rate).astype(np.int64)

    def start_time(self, number: int | np.ndarray) -> np.ndarray:
        """Return the GPS time in s at which a window begins."""
        return self.start + self.first_sample(number) / self.observation.sample_rate

    def merger_time(self, number: int | np.ndarray) -> np.ndarray:
        """Return the GPS time in s of the merger that a window shows best."""
        return self.start_time(number) + self.arrival

    def segment_bounds(self, segment_seconds: float, total_seconds: float) -> list[tuple[int, int]]:
        """Return the first window of each segment and the one after its last.

        The windows are shared out evenly among as many segments as come closest to the length
        that was asked for.
        """
        segments = min(max(1, round(total_seconds / segment_seconds)), self.count)
        edges = np.linspace(0, self.count, segments + 1).round().astype(int)
        return [(int(low), int(high)) for low, high in itertools.pairwise(edges)]


@dataclass
class Segment:
    """Strain with one PSD for each detector, ready to be scored.

    Attributes:
        first_window: number of its first window.
        starts: (windows,) first sample of each window within the segment.
        strain: (detector, samples) float32 in 1e-21, all detectors of the observation; NaN in
            gaps.
        clean: (detectors with strain, windows) bool, whether no gap touches the window.
        whitening: C^(-1/2) of each detector with strain, (n, n) in 1 / 1e-21 for windows of n
            samples.
        observation: gives detectors, rate and the length of a window.
    """

    first_window: int
    starts: np.ndarray
    strain: np.ndarray
    clean: np.ndarray
    whitening: dict[str, np.ndarray]
    observation: Observation = COMPETITION


def load_segment(
    recordings: Mapping[str, Recording],
    grid: WindowGrid,
    bounds: tuple[int, int],
    number: int,
    settings: SearchSettings,
) -> Segment | None:
    """Read and condition the strain of a segment and measure how to whiten it.

    Args:
        recordings: of the detectors with strain.
        grid: of the search.
        bounds: the segment's first window and the one after its last.
        number: of the segment, which seeds the noise of missing detectors.
        settings: what to fill the channel of a missing detector with.

    Returns:
        The segment, or None where a detector has too little strain without gaps for a PSD: less
        than eight windows, which is 16 s for windows of 2 s.
    """
    observation, size = grid.observation, grid.observation.num_samples
    window_starts = grid.first_sample(np.arange(*bounds))
    begin = int(window_starts[0])
    samples = int(window_starts[-1]) - begin + size
    start = grid.start + begin / observation.sample_rate
    strain = np.zeros((observation.num_detectors, samples), np.float32)
    whitening, clean = {}, []
    for channel, name in enumerate(observation.detectors):
        if name not in recordings:
            if not settings.zeros:
                seed = counted_seed(settings.seed, "filler", name, number)
                rng = np.random.default_rng(seed)
                strain[channel] = make_design_noise(name, samples, rng, observation)
            continue
        strain[channel] = condition_strain(recordings[name], start, samples, observation)
        matrix = make_whitening_matrix(strain[channel], observation)
        if matrix is None:
            LOGGER.warning(
                f"GPS {start:.0f} to {start + samples / observation.sample_rate:.0f}: less than "
                f"{psd_seconds(observation):g} s of {name} are without gaps, too few for a PSD; "
                f"not searched"
            )
            return None
        whitening[name] = matrix
        # bad[i] counts the missing samples before sample i: a window is clean when the count is
        # the same at both of its ends
        bad = np.concatenate([[0], np.cumsum(~np.isfinite(strain[channel]))])
        starts = window_starts - begin
        clean.append(bad[starts + size] == bad[starts])
    return Segment(
        bounds[0], window_starts - begin, strain, np.stack(clean), whitening, observation
    )


def score_windows(
    segment: Segment,
    scorer: Callable[[np.ndarray], np.ndarray],
    shown: np.ndarray,
    allowed: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Score the windows of a segment, with each detector at a time of its own.

    Args:
        segment: the scorer is adapted to it.
        scorer: windows (batch, detector, time) float32 in 1e-21 to scores (batch,).
        shown: (detectors with strain, windows), number within the segment of the window that
            each detector shows; 0, 1, 2, ... for all of them is the zero-lag search.
        allowed: (detectors with strain, windows) bool, of each detector's own windows.
        batch_size: windows scored at once.

    Returns:
        (windows,) float64, NaN where a detector's window is not clean or not allowed.
    """
    usable = np.ones(shown.shape[1], bool)
    for row, numbers in enumerate(shown):
        usable &= (segment.clean[row] & allowed[row])[numbers]
    scores = np.full(shown.shape[1], np.nan)
    detectors, size = segment.observation.detectors, segment.observation.num_samples
    # (detector, samples) -> (detector, samples - size + 1, size), without a copy
    views = np.lib.stride_tricks.sliding_window_view(segment.strain, size, axis=1)
    for part in split_into_batches(np.flatnonzero(usable), batch_size):
        windows = np.empty((len(part), len(detectors), size), np.float32)
        row = 0
        for channel, name in enumerate(detectors):
            numbers = part  # filler noise is not shifted
            if name in segment.whitening:
                numbers = shown[row][part]
                row += 1
            windows[:, channel] = views[channel, segment.starts[numbers]]
        scores[part] = scorer(windows)
    return scores


def split_into_batches(numbers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield successive pieces of at most `size` window numbers."""
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]


def cut_whitened_strain(segment: Segment, grid: WindowGrid, window: int) -> dict[str, np.ndarray]:
    """Return whitened strain around a window's merger, which lies in the middle if there is room.

    Where a window's length around the merger would reach beyond the segment or into a gap, the
    scored window itself is cut.

    Args:
        segment: that holds the window.
        grid: of the search.
        window: its number, counted from the start of the search.

    Returns:
        By name, for window 7: 'whitened_7_H1', (time,) float64 of unit variance, for each
        detector with strain, and 'whitened_7_start', the GPS time in s of the first sample.
    """
    start = int(segment.starts[window - segment.first_window])
    observation = segment.observation
    rate, size = observation.sample_rate, observation.num_samples
    first = start + int(grid.arrival * rate) - size // 2
    channels = [
        channel for channel, name in enumerate(observation.detectors) if name in segment.whitening
    ]
    names = [observation.detectors[channel] for channel in channels]
    cut = segment.strain[channels, first : first + size]  # (detectors with strain, time)
    if first < 0 or cut.shape[1] < size or not np.isfinite(cut).all():
        first = start
        cut = segment.strain[channels, first : first + size]
    whitened = {
        f"whitened_{window}_{name}": segment.whitening[name] @ strain.astype(np.float64)
        for name, strain in zip(names, cut, strict=True)
    }
    start_time = grid.start_time(segment.first_window) + first / rate
    return whitened | {f"whitened_{window}_start": np.asarray(start_time)}
