"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from data.data_quality import ExcludedTimes
from data.gates import Gate
from physics.observation import COMPETITION, Observation
from search.background import Background, Significance
from search.conditioned_stretch import MissingStrain
from search.trigger_table import TriggerTable


@dataclass(frozen=True)
class WhitenedStrain:
    """Whitened strain around a trigger, for a map of time and frequency.

    Attributes:
        start: GPS time of the first sample, s.
        strain: (samples,) float64 of unit variance, by detector.
    """

    start: float
    strain: dict[str, np.ndarray]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        start: GPS time in s of the first stretch.
        end: GPS time in s at which the last stretch ends.
        detectors: with strain.
        triggers: of the strain as it was recorded, the loudest first.
        significance: of each of them.
        background: time slides, without the signals that were removed.
        stretches: of strain that were planned.
        skipped_stretches: of them, those with too little clean strain.
        live_seconds: that were searched, by combination of detectors.
        slides: time slides of each stretch.
        gates: glitches that were taken out of the strain.
        missing: strain that was not there, excluded or constant, within stretches.
        excluded: strain that was not to be searched, and why.
        whitened: strain around some triggers, by their place in `triggers`.
        observation: gives the detectors, the rate and the length of a window.
    """

    start: float
    end: float
    detectors: tuple[str, ...]
    triggers: TriggerTable
    significance: Significance
    background: Background
    stretches: int = 0
    skipped_stretches: int = 0
    live_seconds: dict[str, float] = field(default_factory=dict)
    slides: int = 0
    gates: list[Gate] = field(default_factory=list)
    missing: list[MissingStrain] = field(default_factory=list)
    excluded: list[ExcludedTimes] = field(default_factory=list)
    whitened: dict[int, WhitenedStrain] = field(default_factory=dict)
    observation: Observation = COMPETITION

    @property
    def live_time(self) -> float:
        """Seconds that were searched with any combination of detectors."""
        return sum(self.live_seconds.values())

    @property
    def slid_seconds(self) -> float:
        """Live time of all time slides that remain in the background, s."""
        return float(self.background.seconds.sum())

    @property
    def all_slid_seconds(self) -> float:
        """Live time of all time slides, before signals were removed from the background, s."""
        return float(self.background.live.seconds.sum())
