"""Scores of a stretch of strain: peaks of the statistic, each with what every detector saw.

A `StretchScorer` takes a whole conditioned stretch at once. `prepare` does what depends on the
strain of single detectors: whitening and filters. `peaks` combines the detectors, as they were
recorded (zero lag) or shifted against one another (a time slide), and may be called many times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np


@dataclass
class Peaks:
    """Peaks of the statistic with time, in order of time.

    Attributes:
        time: (n,) float64, GPS time in s of the merger at the reference detector.
        score: (n,) float64, the logit that ranks the peaks.
        detector_scores: (n, D) float64, log-likelihood ratio of each detector alone, in the order
            of the observation; NaN for detectors without strain, or where a network has none.
        template: (n,) int32, number of the best template; -1 where there is none.
        mass1, mass2: (n,) float64, detector-frame solar masses of the best template; NaN where they
            are not known.
        snr: (n, D) float32, SNR of the best template in each detector; NaN where it is not known.
    """

    time: np.ndarray
    score: np.ndarray
    detector_scores: np.ndarray
    template: np.ndarray
    mass1: np.ndarray
    mass2: np.ndarray
    snr: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def without_any(cls, detectors: int) -> Peaks:
        """Return no peaks, of an observation of so many detectors."""
        return cls.of_scores(np.empty(0), np.empty(0), detectors)

    @classmethod
    def of_scores(cls, time: np.ndarray, score: np.ndarray, detectors: int) -> Peaks:
        """Return peaks of which nothing but times and scores is known."""
        count = len(time)
        return cls(
            time=np.asarray(time, np.float64),
            score=np.asarray(score, np.float64),
            detector_scores=np.full((count, detectors), np.nan),
            template=np.full(count, -1, np.int32),
            mass1=np.full(count, np.nan),
            mass2=np.full(count, np.nan),
            snr=np.full((count, detectors), np.nan, np.float32),
        )

    @classmethod
    def joined(cls, parts: Sequence[Peaks]) -> Peaks:
        """Return the peaks of all parts (at least one) in the order given."""
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
        }
        return cls(**columns)

    def taken(self, which: Any) -> Peaks:
        """Return the peaks that an index or a mask of numpy selects."""
        return Peaks(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


class StretchScorer(Protocol):
    """What gives a stretch of strain its peaks."""

    def prepare(self, stretch: Any) -> None:
        """Whiten and filter a `ConditionedStretch`; what was prepared before is forgotten."""

    def peaks(self, shifts: Mapping[str, float], least: float) -> Peaks:
        """Return the peaks with a score of at least `least`.

        Args:
            shifts: seconds by which each detector is shifted: at the time t of the others it shows
                its strain of t + shift, on the ring that the stretch is closed to. Detectors that
                are not named are not shifted; {} is zero lag.
            least: the smallest score of interest; the larger it is, the more can be left out.
        """

    def live_time(self, shifts: Mapping[str, float]) -> float:
        """Return for how many seconds of the stretch there is a score with these shifts."""
