"""What a scorer of continuous strain gives to the search: peaks of its statistic with time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from search.conditioned_stretch import ConditionedStretch


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
        sides: (n, S) float64 value of each side target that the networks predict, in its own units;
            a merger time as a GPS time, s. None is (n, 0).
    """

    time: np.ndarray
    score: np.ndarray
    detector_scores: np.ndarray
    template: np.ndarray
    mass1: np.ndarray
    mass2: np.ndarray
    snr: np.ndarray
    sides: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.sides is None:
            self.sides = np.empty((len(self.time), 0))

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def without_any(cls, detectors: int, sides: int = 0) -> Peaks:
        """Return no peaks, of an observation of so many detectors and so many side targets."""
        return cls.of_scores(np.empty(0), np.empty(0), detectors, np.empty((0, sides)))

    @classmethod
    def of_scores(
        cls, time: np.ndarray, score: np.ndarray, detectors: int, sides: np.ndarray | None = None
    ) -> Peaks:
        """Return peaks of which times and scores are known, and perhaps side targets (n, S)."""
        count = len(time)
        return cls(
            time=np.asarray(time, np.float64),
            score=np.asarray(score, np.float64),
            detector_scores=np.full((count, detectors), np.nan),
            template=np.full(count, -1, np.int32),
            mass1=np.full(count, np.nan),
            mass2=np.full(count, np.nan),
            snr=np.full((count, detectors), np.nan, np.float32),
            sides=sides,
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
    """Scores a stretch of strain and its time slides.

    A scorer whose networks also predict side targets has their names in `side_names`.
    """

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


def applied_shifts(scorer: StretchScorer, shifts: Mapping[str, float]) -> Mapping[str, float]:
    """Return by how much a scorer shifts the detectors where some shifts are asked for, s.

    A scorer whose rounding is coarser than its arrival times has a method `applied_shifts`.
    """
    own = getattr(scorer, "applied_shifts", None)
    return shifts if own is None else own(shifts)


def side_names_of(scorer: StretchScorer) -> tuple[str, ...]:
    """Return the names of the side targets that a scorer's networks predict, in order."""
    return tuple(getattr(scorer, "side_names", ()))
