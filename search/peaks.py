"""What a scorer of continuous strain gives to the search: peaks of its statistic with time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from search.conditioning import ConditionedStretch


@dataclass
class Peaks:
    """Local maxima of a statistic, in order of time; n is their number.

    Attributes:
        time: (n,) float64 GPS time of the merger at the reference, s.
        score: (n,) float64 statistic by which triggers are ranked.
        detector_scores: (n, D) float64 score of each detector alone, in the order of the
            observation's detectors; NaN for those without strain.
        template: (n,) int32 number of the template, -1 where there are none.
        mass1, mass2: (n,) float64 masses of the template in the detector frame, solar masses; NaN
            where they are not known.
        snr: (n, D) float32 signal-to-noise ratio of the template in each detector; NaN where it is
            not known.
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


class StretchScorer(Protocol):
    """Scores a stretch of strain and its time slides."""

    def prepare(self, stretch: ConditionedStretch) -> None:
        """Do once for a stretch what all of its time slides share."""

    def peaks(self, shifts: Mapping[str, float], least: float) -> Peaks:
        """Return the peaks of the prepared stretch with its detectors shifted.

        Args:
            shifts: s by detector, circular within the stretch (see `search/slides.py`); {} is the
                strain as it is.
            least: peaks with a lower score may be left out.
        """

    def live_time(self, shifts: Mapping[str, float]) -> float:
        """Return how many seconds of a slide can be searched."""
