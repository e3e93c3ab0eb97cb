"""Stretches: the time of a search, divided by which detectors have data.

A window is searched with exactly the detectors that have data all through it. So combinations of
detectors are planned in terms of where windows begin: a detector with data from a to b fills the
windows that begin from a to b - window. Where the set of such detectors changes, a new stretch
begins. Successive stretches therefore overlap by one window, every window lies wholly within one
of them, and none is searched twice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from data.recording import Recording
from data.strain_conditioning import count_spoilt_samples
from data.time_segments import TimeSegments, intersect_segments
from physics.observation import Observation
from runtime.errors import UserError

# Interruptions of a detector that are shorter do not end a stretch, s: a drop-out of half a second
# would otherwise cut the time that can be slid in two. `ConditionedStretch.usable` has them, and
# `divide_by_detectors` has them searched with the other detectors.
BRIDGED_SECONDS = 32.0
SHORTEST_PIECES = 2  # windows, of the longest stretch that may be asked for


@dataclass(frozen=True)
class Stretch:
    """Some time that is searched with one combination of detectors.

    Attributes:
        number: among the stretches of the search, in order of time.
        start: GPS time in s of the first sample.
        end: GPS time in s after the last sample.
        detectors: with data all through but for interruptions of less than `BRIDGED_SECONDS`, in
            the order of the observation.
    """

    number: int
    start: float
    end: float
    detectors: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def combination(self) -> str:
        """The detectors in one word, such as 'H1L1'."""
        return "".join(self.detectors)


def plan_stretches(
    recordings: Mapping[str, Recording],
    allowed: Mapping[str, TimeSegments],
    observation: Observation,
    longest: float,
) -> list[Stretch]:
    """Divide the time of a search into stretches, each with the detectors that have data.

    Args:
        recordings: of the detectors with strain.
        allowed: sorted GPS segments of each detector that may be searched; a detector that is not
            named may be searched wherever it has strain and its files say nothing against it.
        observation: gives the order of the detectors, the rate and the window.
        longest: s; longer ones are divided evenly.

    Returns:
        In order of time. Each is at least a window long, and successive ones of the same time
        overlap by one window.

    Raises:
        UserError: `longest` is too short.
    """
    window, rate = observation.window, observation.sample_rate
    if longest < SHORTEST_PIECES * window:
        raise UserError(
            f"--stretch {longest:g} is too short: give {SHORTEST_PIECES * window:g} s or more"
        )
    begins = {}  # where windows may begin, for each detector
    for name in observation.detectors:
        if name in recordings:
            recording = recordings[name]
            segments = allowed[name] if name in allowed else recording.usable_segments()
            segments = intersect_segments(segments, [(recording.start, recording.end)])
            lost = edge_seconds(recording.rate, observation)
            begins[name] = [
                (start + lost, end - lost - window)
                for start, end in bridge_gaps(segments)
                if end - start > 2 * lost + window
            ]
    stretches: list[Stretch] = []
    for first, last, detectors in find_combinations(begins):
        low, high = math.ceil(first * rate), math.floor(last * rate)  # in samples since GPS 0
        if high < low:
            continue
        # The starts of windows are shared out evenly among pieces of at most `longest`.
        pieces = max(1, math.ceil((high - low) / ((longest - window) * rate)))
        edges = [low + (high - low) * piece // pieces for piece in range(pieces + 1)]
        for begin, end in itertools.pairwise(edges):
            number = len(stretches)
            stretches.append(Stretch(number, begin / rate, end / rate + window, detectors))
    return stretches


def edge_seconds(rate: int, observation: Observation) -> float:
    """Return how much strain is lost at an edge of the data, half of the filters' length, s.

    Args:
        rate: Hz, of the strain as it was recorded.
        observation: what it is brought to.
    """
    return count_spoilt_samples(rate, observation) / observation.sample_rate


def bridge_gaps(segments: TimeSegments, gap: float = BRIDGED_SECONDS) -> TimeSegments:
    """Return segments in order of time, those joined that overlap or are less than `gap` s apart.

    Args:
        segments: in order of time.
        gap: s.
    """
    joined: TimeSegments = []
    for start, end in segments:
        if joined and start - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def find_combinations(
    segments: Mapping[str, TimeSegments],
) -> list[tuple[float, float, tuple[str, ...]]]:
    """Return which detectors are on, and from when to when, in order of time.

    Args:
        segments: of each detector, in order of time and apart from one another.

    Returns:
        (start, end, detectors) of each piece of time with at least one detector.
    """
    edges = sorted({time for pairs in segments.values() for pair in pairs for time in pair})
    found: list[tuple[float, float, tuple[str, ...]]] = []
    for start, end in itertools.pairwise(edges):
        detectors = tuple(
            name
            for name, pairs in segments.items()
            if any(first <= start and end <= last for first, last in pairs)
        )
        if not detectors:
            continue
        if found and found[-1][1:] == (start, detectors):
            found[-1] = (found[-1][0], end, detectors)
        else:
            found.append((start, end, detectors))
    return found
