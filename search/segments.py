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
from physics.constants import DETECTORS, MERGER_TIME, NUM_SAMPLES, SAMPLE_RATE
from runtime.console import LOGGER
from runtime.seeds import counted_seed
from search.conditioning import make_design_noise, make_whitening_matrix
from search.settings import SearchSettings


@dataclass(frozen=True)
class WindowGrid:
    """The windows of a search, by number.

    Attributes:
        start: GPS time in s of the first sample.
        step: seconds between the starts of successive windows.
        count: windows that fit.
    """

    start: float
    step: float
    count: int

    def first_sample(self, number: int | np.ndarray) -> np.ndarray:
        """Return the first sample of a window at 2,048 Hz, counted from `start`, int64."""
        return np.round(np.asarray(number) * self.step * SAMPLE_RATE).astype(np.int64)

    def start_time(self, number: int | np.ndarray) -> np.ndarray:
        """Return the GPS time in s at which a window begins."""
        return self.start + self.first_sample(number) / SAMPLE_RATE

    def merger_time(self, number: int | np.ndarray) -> np.ndarray:
        """Return the GPS time in s of the merger that a window shows best."""
        return self.start_time(number) + MERGER_TIME

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
        strain: (3, samples) float32 in 1e-21, in the order of `DETECTORS`; NaN in gaps.
        clean: (detectors with strain, windows) bool, whether no gap touches the window.
        whitening: C^(-1/2) of each detector with strain, (4096, 4096) in 1 / 1e-21.
    """

    first_window: int
    starts: np.ndarray
    strain: np.ndarray
    clean: np.ndarray
    whitening: dict[str, np.ndarray]


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
        The segment, or None where a detector has less than 16 s without gaps, too few for a PSD.
    """
    window_starts = grid.first_sample(np.arange(*bounds))
    begin = int(window_starts[0])
    samples = int(window_starts[-1]) - begin + NUM_SAMPLES
    start = grid.start + begin / SAMPLE_RATE
    strain = np.zeros((len(DETECTORS), samples), np.float32)
    whitening, clean = {}, []
    for channel, name in enumerate(DETECTORS):
        if name not in recordings:
            if not settings.zeros:
                seed = counted_seed(settings.seed, "filler", name, number)
                strain[channel] = make_design_noise(name, samples, np.random.default_rng(seed))
            continue
        strain[channel] = condition_strain(recordings[name], start, samples)
        matrix = make_whitening_matrix(strain[channel])
        if matrix is None:
            LOGGER.warning(
                f"GPS {start:.0f} to {start + samples / SAMPLE_RATE:.0f}: less than 16 s of "
                f"{name} are without gaps, too few for a PSD; not searched"
            )
            return None
        whitening[name] = matrix
        # bad[i] counts the missing samples before sample i: a window is clean when the count is
        # the same at both of its ends
        bad = np.concatenate([[0], np.cumsum(~np.isfinite(strain[channel]))])
        starts = window_starts - begin
        clean.append(bad[starts + NUM_SAMPLES] == bad[starts])
    return Segment(bounds[0], window_starts - begin, strain, np.stack(clean), whitening)


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
        scorer: windows (batch, 3, 4096) float32 in 1e-21 to scores (batch,).
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
    # (3, samples) -> (3, samples - 4095, 4096), without a copy
    views = np.lib.stride_tricks.sliding_window_view(segment.strain, NUM_SAMPLES, axis=1)
    for part in split_into_batches(np.flatnonzero(usable), batch_size):
        windows = np.empty((len(part), len(DETECTORS), NUM_SAMPLES), np.float32)
        row = 0
        for channel, name in enumerate(DETECTORS):
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

    Where 2 s around the merger would reach beyond the segment or into a gap, the scored window
    itself is cut.

    Args:
        segment: that holds the window.
        grid: of the search.
        window: its number, counted from the start of the search.

    Returns:
        By name, for window 7: 'whitened_7_H1', (4096,) float64 of unit variance, for each
        detector with strain, and 'whitened_7_start', the GPS time in s of the first sample.
    """
    start = int(segment.starts[window - segment.first_window])
    first = start + int(MERGER_TIME * SAMPLE_RATE) - NUM_SAMPLES // 2
    names = [name for name in DETECTORS if name in segment.whitening]
    channels = [DETECTORS.index(name) for name in names]
    cut = segment.strain[channels, first : first + NUM_SAMPLES]  # (detectors, 4096)
    if cut.shape[1] < NUM_SAMPLES or not np.isfinite(cut).all():
        first = start
        cut = segment.strain[channels, first : first + NUM_SAMPLES]
    whitened = {
        f"whitened_{window}_{name}": segment.whitening[name] @ strain.astype(np.float64)
        for name, strain in zip(names, cut, strict=True)
    }
    start_time = grid.start_time(segment.first_window) + first / SAMPLE_RATE
    return whitened | {f"whitened_{window}_start": np.asarray(start_time)}
