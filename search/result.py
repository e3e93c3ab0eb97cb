"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from physics.observation import COMPETITION, Observation
from search.segments import COMPETITION_ARRIVAL
from search.time_slides import Background
from search.triggers import HISTOGRAM_EDGES, Trigger

ENVELOPE_BINS = 1500  # bins of time in the figure


@dataclass
class SearchResult:
    """What a search found.

    Attributes:
        start: GPS time in s of the first sample that all detectors have.
        end: GPS time in s after the last.
        detectors: with strain.
        triggers: the loudest of them, the loudest first.
        num_triggers: of all, also those not kept.
        windows: that fit into the time.
        scored: of them, those without a gap.
        segments: pieces of strain with one PSD.
        skipped_segments: of them, those with too little strain for a PSD.
        live_time: seconds that were searched.
        gaps: windows that the gaps of each detector spoil.
        envelope: (1500,) highest score in each bin of time; -inf where none was scored.
        histogram: triggers in each bin of `HISTOGRAM_EDGES`.
        background: from time slides.
        observation: gives the rate and the length of a window.
        arrival: of the merger that a window shows best, s after the window begins.
    """

    start: float
    end: float
    detectors: tuple[str, ...]
    triggers: list[Trigger] = field(default_factory=list)
    num_triggers: int = 0
    windows: int = 0
    scored: int = 0
    segments: int = 0
    skipped_segments: int = 0
    live_time: float = 0.0
    gaps: dict[str, int] = field(default_factory=dict)
    envelope: np.ndarray = field(default_factory=lambda: np.full(ENVELOPE_BINS, -np.inf))
    histogram: np.ndarray = field(
        default_factory=lambda: np.zeros(len(HISTOGRAM_EDGES) - 1, np.int64)
    )
    background: Background = field(default_factory=Background)
    observation: Observation = COMPETITION
    arrival: float = COMPETITION_ARRIVAL
