"""A scorer of strain without networks, for the tests of the search loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from physics.observation import Observation
from search.peaks import Peaks

TWO = Observation(detectors=("H1", "L1"))


@dataclass(frozen=True)
class FakeStretch:
    """Has the fields of `search.stretches.Stretch`."""

    number: int
    start: float
    end: float
    detectors: tuple[str, ...]


@dataclass
class FakeConditioned:
    """Has what the search loop reads of a `ConditionedStretch`."""

    stretch: FakeStretch
    strain: dict[str, np.ndarray]
    usable: dict[str, np.ndarray]
    observation: Observation = TWO
    rate: int = 2048
    gates: list = field(default_factory=list)


def make_stretch(strain: dict[str, np.ndarray], start: float, number: int = 0) -> FakeConditioned:
    """Return a stretch that holds some strain, (samples,) at 2,048 Hz, all of it usable."""
    names = tuple(strain)
    count = len(strain[names[0]])
    usable = {name: np.ones(count, bool) for name in names}
    return FakeConditioned(FakeStretch(number, start, start + count / 2048, names), strain, usable)


class PowerScorer:
    """Scores each 1/16 s by the sum over detectors of the strain's power in it.

    Attributes:
        prepared: how many stretches it was given.
    """

    block = 128  # samples

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, stretch: FakeConditioned) -> None:
        self.prepared += 1
        self.stretch = stretch
        names = stretch.stretch.detectors
        count = len(stretch.strain[names[0]]) // self.block
        self.powers, self.usable = {}, {}
        for name in names:
            # (samples,) -> (blocks, samples of a block)
            blocks = stretch.strain[name][: count * self.block].reshape(count, self.block)
            self.powers[name] = np.square(blocks).mean(1)
            used = stretch.usable[name][: count * self.block].reshape(count, self.block)
            self.usable[name] = used.all(1)

    def shifted(self, values: Mapping[str, np.ndarray], shifts: Mapping[str, float]) -> np.ndarray:
        """Return values of all detectors as a slide shows them, (D, blocks)."""
        rate = self.stretch.rate / self.block
        return np.stack(
            [np.roll(row, -round(shifts.get(name, 0) * rate)) for name, row in values.items()]
        )

    def peaks(self, shifts: Mapping[str, float], least: float) -> Peaks:
        powers = self.shifted(self.powers, shifts)
        score = powers.sum(0)
        score[~self.shifted(self.usable, shifts).all(0)] = -np.inf
        padded = np.concatenate([[-np.inf], score, [-np.inf]])
        peak = (score > padded[:-2]) & (score >= padded[2:]) & (score >= least)
        places = np.flatnonzero(peak & np.isfinite(score))
        observed = self.stretch.observation.detectors
        alone = np.full((len(places), len(observed)), np.nan)
        for row, name in enumerate(self.powers):
            alone[:, observed.index(name)] = powers[row, places]
        unknown = np.full(len(places), np.nan)
        return Peaks(
            time=self.stretch.stretch.start + (places + 0.5) * self.block / self.stretch.rate,
            score=score[places],
            detector_scores=alone,
            template=np.full(len(places), -1, np.int32),
            mass1=unknown,
            mass2=unknown,
            snr=np.full(alone.shape, np.nan, np.float32),
        )

    def live_time(self, shifts: Mapping[str, float]) -> float:
        usable = self.shifted(self.usable, shifts).all(0)
        return float(usable.sum() * self.block / self.stretch.rate)
