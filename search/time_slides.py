"""Time slides: how the background of a search, and with it false-alarm rates, are measured.

A gravitational wave reaches all detectors within the time that light takes between them (27 ms
from Virgo to Hanford).
Shift the strain of one detector against another's by more than that, and no trigger can be a
gravitational wave: every trigger of shifted strain is noise. Many different shifts of the same
strain give many times its length of background, and a trigger that n background triggers exceed
has a false-alarm rate of (1 + n) / (live time of the background). The 1 is the trigger itself,
which keeps the rate of the loudest above zero (Usman et al., Classical and Quantum Gravity 33,
215004 (2016), use the same estimate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from search.segments import Segment, WindowGrid, score_windows
from search.settings import SearchSettings
from search.triggers import HISTOGRAM_EDGES, Trigger, count_by_score, find_local_peaks


@dataclass
class Background:
    """The triggers of all time slides of a search, counted.

    Attributes:
        slides: time slides that were scored, over all segments; a short segment has room for
            fewer than were asked for.
        windows: windows of shifted strain that were scored.
        triggers: background triggers among them.
        loudest: score of the loudest background trigger.
        live_time: seconds of shifted strain that were searched.
        histogram: background triggers in each bin of `HISTOGRAM_EDGES`.
    """

    slides: int = 0
    windows: int = 0
    triggers: int = 0
    loudest: float = -math.inf
    live_time: float = 0.0
    histogram: np.ndarray = field(
        default_factory=lambda: np.zeros(len(HISTOGRAM_EDGES) - 1, np.int64)
    )


def list_time_slides(
    windows: int, detectors: int, slides: int, shift_windows: int
) -> list[list[int]]:
    """Return the time slides of a segment.

    The segment is closed to a ring, so that every slide has as many windows as the segment. In
    slide n the second detector is shifted by n times the unit and the third by 2 n times, so that
    no two detectors keep their true alignment. Slides in which two would come closer than one
    unit, once round the ring, are left out.

    Args:
        windows: of the segment.
        detectors: with strain; with one there is nothing to slide against.
        slides: how many are wanted; a short segment has room for fewer.
        shift_windows: the unit, in windows.

    Returns:
        For each slide the shift of each detector, in windows.
    """
    found = []
    for number in range(1, slides + 1):
        if number * shift_windows > windows - shift_windows:  # once round the ring
            break
        shifts = [number * shift_windows * place for place in range(detectors)]
        # distance of every pair of detectors on the ring
        pairs = [(a - b) % windows for a in shifts for b in shifts if a > b]
        if pairs and all(shift_windows <= pair <= windows - shift_windows for pair in pairs):
            found.append(shifts)
    return found


def allow_windows(
    grid: WindowGrid, bounds: tuple[int, int], detectors: int, excluded: Sequence[float]
) -> np.ndarray:
    """Return which windows of a segment may enter its time slides.

    The strain of a loud signal, slid against noise, is no background. Left out is every window
    that shows the merger or the last half second of the inspiral.

    Args:
        grid: of the search.
        bounds: the segment's first window and the one after its last.
        detectors: with strain.
        excluded: merger times, GPS in s, of the triggers to leave out.

    Returns:
        (detectors, windows) bool.
    """
    starts = grid.start_time(np.arange(*bounds))
    allowed = np.ones((detectors, len(starts)), bool)
    for merger in excluded:
        allowed &= (starts < merger - grid.observation.window) | (starts > merger + 0.5)
    return allowed


class BackgroundEstimator:
    """Counts background triggers, segment by segment, against the triggers of a search.

    Args:
        triggers: whose false-alarm rates are wanted.
        settings: of the search.
    """

    def __init__(self, triggers: Sequence[Trigger], settings: SearchSettings) -> None:
        self.triggers, self.settings = triggers, settings
        self.levels = np.array([trigger.score for trigger in triggers])
        self.as_loud = np.zeros(len(triggers), np.int64)
        self.background = Background()

    def score_slides(
        self,
        segment: Segment,
        slides: Sequence[Sequence[int]],
        scorer: Callable[[np.ndarray], np.ndarray],
        allowed: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Score every time slide of a segment and return its background triggers.

        Args:
            segment: the scorer is adapted to it.
            slides: see `list_time_slides`.
            scorer: see `score_windows`.
            allowed: see `allow_windows`.

        Returns:
            slid_windows: how many were scored; slid_triggers: (triggers,) their scores.
        """
        scored, found = 0, []
        windows = len(segment.starts)
        for shifts in slides:
            # (detectors, windows): window k shows each detector `shift` windows later, on the ring
            shown = np.stack([(np.arange(windows) + shift) % windows for shift in shifts])
            scores = score_windows(segment, scorer, shown, allowed, self.settings.batch_size)
            scored += int(np.isfinite(scores).sum())
            found.append(scores[find_local_peaks(scores, self.settings.cluster_windows)])
        return {"slid_windows": np.asarray(scored), "slid_triggers": np.concatenate(found)}

    def add(self, found: Mapping[str, np.ndarray], slides: int) -> None:
        """Count the background triggers of a segment.

        Args:
            found: as `score_slides` returned them.
            slides: the time slides of the segment.
        """
        if "slid_triggers" not in found:  # a segment without slides
            return
        background, scores = self.background, found["slid_triggers"]
        background.slides += slides
        background.windows += int(found["slid_windows"])
        background.triggers += len(scores)
        background.loudest = max(background.loudest, *scores.tolist(), -math.inf)
        background.histogram += count_by_score(scores)
        for first in range(0, len(scores), 1000):  # memory: 1000 x triggers at once
            part = scores[first : first + 1000]
            # (part, 1) against (triggers,) -> (triggers,)
            self.as_loud += (part[:, None] >= self.levels).sum(0)

    def finish(self) -> Background:
        """Give every trigger its false-alarm rate and return the background."""
        self.background.live_time = self.background.windows * self.settings.step
        for trigger, count in zip(self.triggers, self.as_loud, strict=True):
            trigger.slid_as_loud = int(count)
            if self.background.live_time:
                trigger.rate = (1 + int(count)) / self.background.live_time
        return self.background
