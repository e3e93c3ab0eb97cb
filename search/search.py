"""A search through strain of any length, in two passes.

The zero-lag pass scores every window of the strain as it was recorded and keeps the loudest
triggers. The second pass scores the same strain with the detectors shifted against one another,
which gives the background and with it the triggers' false-alarm rates (see time_slides.py). Both
take the strain segment by segment (see segments.py), so that hours need no more memory than
minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from data.recording import Recording
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from runtime.errors import UserError
from search.folder import SegmentStore
from search.result import ENVELOPE_BINS, SearchResult
from search.segments import Segment, WindowGrid, cut_whitened_strain, load_segment, score_windows
from search.settings import SearchSettings, check_settings, min_overlap_seconds, psd_seconds
from search.time_slides import BackgroundEstimator, allow_windows, list_time_slides
from search.triggers import Trigger, TriggerFinder, count_by_score


class Scorer(Protocol):
    """What gives windows of strain their scores."""

    def adapt(self, whitening: Mapping[str, np.ndarray]) -> None:
        """Prepare for the windows of a segment, whose strain these matrices whiten."""

    def release(self) -> None:
        """Forget the matrices of the last segment."""

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Return scores (batch,) of windows (batch, detector, time) float32 in 1e-21."""


def check_detectors(recordings: Mapping[str, Recording], observation: Observation) -> None:
    """Refuse strain of detectors that are not observed: no channel of the networks is theirs.

    Raises:
        UserError: there is some, or none of the detectors has strain.
    """
    others = [name for name in recordings if name not in observation.detectors]
    if others or not recordings:
        raise UserError(
            f"strain of {', '.join(others) or 'no detector'} was given and the networks observe "
            f"{', '.join(observation.detectors)}: give strain of these"
        )


class Search:
    """A search through the strain that all given detectors have in common.

    Args:
        recordings: one for each detector; at least one.
        scorer: of windows.
        settings: how to search.
        store: keeps what was found in each segment, and gives what was found before; a search
            that was interrupted is resumed from there.
        observation: detectors, rate and window of the scorer.
        population: says where in a window the mergers lie.

    Raises:
        UserError: a setting is out of its range, a recording is of a detector that is not
            observed, or the recordings hardly overlap.
    """

    def __init__(
        self,
        recordings: Mapping[str, Recording],
        scorer: Scorer,
        settings: SearchSettings,
        store: SegmentStore | None = None,
        *,
        observation: Observation = COMPETITION,
        population: Population = COMPETITION_POPULATION,
    ) -> None:
        check_settings(settings, observation)
        check_detectors(recordings, observation)
        self.recordings, self.scorer, self.settings = dict(recordings), scorer, settings
        self.store = SegmentStore() if store is None else store
        self.detectors = tuple(name for name in observation.detectors if name in recordings)
        self.start = max(recording.start for recording in recordings.values())
        self.end = min(recording.end for recording in recordings.values())
        needed = min_overlap_seconds(observation)
        if self.end - self.start < needed:
            spans = ", ".join(
                f"{name} {recording.start:.0f} to {recording.end:.0f}"
                for name, recording in self.recordings.items()
            )
            raise UserError(
                f"the strain of all detectors overlaps for {max(self.end - self.start, 0):g} s "
                f"(GPS: {spans}) and {needed:g} s are needed: give files of the same time"
            )
        rate = observation.sample_rate
        samples = int((self.end - self.start) * rate)
        # Window k begins at sample round(k step rate). The last that fits, plus one for number 0:
        windows = int((samples - observation.num_samples) / (settings.step * rate)) + 1
        arrival = population.middle_arrival(observation.window)
        self.grid = WindowGrid(self.start, settings.step, windows, observation, arrival)
        self.bounds = self.grid.segment_bounds(settings.stretch, self.end - self.start)
        self.held: Segment | None = None  # the only segment, which the second pass uses again
        self.adapted_to = -1  # number of the segment that the scorer is adapted to
        self.result = SearchResult(
            self.start,
            self.end,
            self.detectors,
            windows=windows,
            segments=len(self.bounds),
            observation=observation,
            arrival=arrival,
        )

    def list_time_slides(self, number: int) -> list[list[int]]:
        """Return the time slides of a segment; see `time_slides.list_time_slides`."""
        low, high = self.bounds[number]
        settings = self.settings
        return list_time_slides(
            high - low, len(self.detectors), settings.slides, settings.shift_windows
        )

    def count_time_slides(self) -> list[int]:
        """Return for each segment how many of the time slides asked for it has room for."""
        return [len(self.list_time_slides(number)) for number in range(len(self.bounds))]

    def load_segment(self, number: int) -> Segment | None:
        """Return a segment, or None where it has too little strain without gaps."""
        if self.held is not None:
            return self.held
        # Two sets of whitening matrices, of samples x samples, would be the peak of memory.
        self.scorer.release()
        self.adapted_to = -1
        segment = load_segment(
            self.recordings, self.grid, self.bounds[number], number, self.settings
        )
        if len(self.bounds) == 1:
            self.held = segment
        return segment

    def adapt_scorer(self, number: int, segment: Segment) -> None:
        """Have the scorer whiten as a segment needs it, unless it does so already."""
        if self.adapted_to != number:
            self.scorer.adapt(segment.whitening)
            self.adapted_to = number

    def search_zero_lag(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Score every window of the strain as it was recorded.

        Yields:
            For each segment the merger times (GPS in s) and scores of its windows, without those
            that gaps spoil. At the end `result` holds the triggers.

        Raises:
            UserError: no window at all could be scored.
        """
        result, finder = self.result, TriggerFinder(self.settings.cluster_windows)
        for number, (low, high) in enumerate(self.bounds):
            scores, spoilt = self.score_segment(number)
            if spoilt is None:
                result.skipped_segments += 1
            else:
                for name, count in zip(self.detectors, spoilt, strict=True):
                    result.gaps[name] = result.gaps.get(name, 0) + int(count)
            # A skipped segment is pushed as NaN, so that the numbers of later windows stay right.
            self.keep_loudest(finder.push(scores, end=high == self.grid.count))
            scored = np.flatnonzero(np.isfinite(scores))
            result.scored += len(scored)
            bins = (low + scored) * ENVELOPE_BINS // self.grid.count
            np.maximum.at(result.envelope, bins, scores[scored])
            yield self.grid.merger_time(low + scored), scores[scored]
        result.live_time = result.scored * self.settings.step
        if not result.scored:
            raise UserError(
                f"no window could be searched: the strain of all detectors together has no "
                f"{psd_seconds(self.grid.observation):g} s without gaps; give a "
                f"longer file, or leave out the detector with the gaps"
            )

    def score_segment(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the scores of a segment's windows at zero lag, and what its gaps spoil.

        Returns:
            (windows,) float64, NaN where a gap spoils the window; and the spoilt windows of each
            detector, None for a segment with too little strain.
        """
        name = f"zero_lag_{number:06d}"
        before = self.store.load(name)
        low, high = self.bounds[number]
        if before is not None:
            self.store.check(name, before, "scores", (high - low,))
            return before["scores"], before.get("spoilt")
        segment = self.load_segment(number)
        if segment is None:
            scores = np.full(high - low, np.nan)
            self.store.save(name, scores=scores)
            return scores, None
        self.adapt_scorer(number, segment)
        # zero lag: every detector shows the same window
        shown = np.tile(np.arange(high - low), (len(self.detectors), 1))
        scores = score_windows(
            segment, self.scorer, shown, np.ones_like(shown, bool), self.settings.batch_size
        )
        spoilt = (~segment.clean).sum(axis=1)
        self.store.save(name, scores=scores, spoilt=spoilt)
        return scores, spoilt

    def keep_loudest(self, found: list[tuple[int, float]]) -> None:
        """Count new triggers, given as (window, score), and keep the loudest of all."""
        result = self.result
        result.num_triggers += len(found)
        result.histogram += count_by_score(np.array([score for _, score in found]))
        new = [
            Trigger(score, window, float(self.grid.merger_time(window))) for window, score in found
        ]
        result.triggers = sorted(result.triggers + new, key=lambda trigger: -trigger.score)
        del result.triggers[self.settings.top :]

    def measure_background(self) -> Iterator[int]:
        """Score the time slides and give every trigger its false-alarm rate.

        The same pass keeps the whitened strain around the loudest triggers. Follows
        `search_zero_lag`.

        Yields:
            The number of each segment that is done. At the end `result.background` is complete.
        """
        result, settings = self.result, self.settings
        excluded = [trigger.time for trigger in result.triggers[: settings.exclude]]
        estimator = BackgroundEstimator(result.triggers, settings)
        for number, (low, high) in enumerate(self.bounds):
            slides = self.list_time_slides(number)
            mapped = [
                trigger
                for trigger in result.triggers[: settings.maps]
                if low <= trigger.window < high
            ]
            name = f"background_{number:06d}"
            found = self.store.load(name)
            if found is None:
                # A segment without slides and without a trigger to draw need not be read again.
                segment = self.load_segment(number) if slides or mapped else None
                found = {}
                if segment is not None:
                    for trigger in mapped:
                        found |= cut_whitened_strain(segment, self.grid, trigger.window)
                    if slides:
                        self.adapt_scorer(number, segment)
                        allowed = allow_windows(
                            self.grid, (low, high), len(self.detectors), excluded
                        )
                        found |= estimator.score_slides(segment, slides, self.scorer, allowed)
                del segment  # before the next one is loaded
                self.store.save(name, **found)
            for trigger in mapped:
                trigger.keep_whitened(found, self.detectors)
            estimator.add(found, len(slides))
            yield number
        result.background = estimator.finish()
