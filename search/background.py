"""The background of a search, and the false-alarm rates of its triggers.

All triggers of time slides are noise. A trigger that n of them equal or exceed in a live time T of
slides has the false-alarm rate

    rate = (1 + n) / T.

The 1 is the trigger itself, which keeps the rate of the loudest above zero (Usman et al., Classical
and Quantum Gravity 33, 215004 (2016)). With n = 0 this is a limit: the rate is lower, and how much
lower only more slides can tell. Detectors that observe together have a background of their own,
since what is loud in two is not what is loud in three.

False alarms are a Poisson process. In a search of live time T_0 the probability of one or more
false alarms that are as significant is p = 1 - exp(-rate T_0), where T_0 is the live time of all
combinations of detectors: each of them has had its chance.

A signal would spoil the background of all others: its strain in one detector, slid against noise in
another, is loud. It is therefore removed, by the hierarchical rule of PyCBC's searches (Capano et
al., Phys. Rev. D 96, 082002 (2017) compare the choices): the most significant trigger is rated
against the whole background, its own slid copies included. If less than `REMOVE_BELOW` false alarms
as loud are expected in the whole search, it counts as a signal, and all slid triggers with strain
that can show it are removed before the next one is rated. A glitch in one detector is not removed:
its slid copies are as loud as itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from search.live_times import ExcludedTime, LiveTimes
from search.trigger_table import TriggerTable

SECONDS_PER_YEAR = 365.25 * 86_400
REMOVE_BELOW = 0.1  # false alarms in the whole search, below which a trigger counts as a signal


@dataclass(frozen=True)
class RemovedEvent:
    """A trigger that counts as a signal and is no part of the background.

    Attributes:
        time: GPS time of its merger, s.
        score: its score.
        seconds: of live time of the slides that were removed with it.
        triggers: slid triggers that were removed with it.
    """

    time: float
    score: float
    seconds: float
    triggers: int


@dataclass(frozen=True)
class Significance:
    """How significant each of n triggers is.

    Attributes:
        as_loud: (n,) int64 slid triggers with at least its score, -1 without a background.
        rate: (n,) false-alarm rate, 1/s; NaN without a background.
        is_limit: (n,) bool, whether the rate is only a limit, as no slid trigger is as loud.
        p_value: (n,) probability of a false alarm as significant in the whole search; NaN without.
        sigma: (n,) the same as standard deviations of one tail of a Gaussian; 0 where p is one
            half or more.
    """

    as_loud: np.ndarray
    rate: np.ndarray
    is_limit: np.ndarray
    p_value: np.ndarray
    sigma: np.ndarray

    def take(self, rows: np.ndarray) -> Significance:
        """Return some rows, by a mask or by their numbers."""
        return Significance(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def ifar_years(self) -> np.ndarray:
        """(n,) inverse of the false-alarm rate, years."""
        with np.errstate(divide="ignore"):
            return 1 / (self.rate * SECONDS_PER_YEAR)


class Background:
    """Slid triggers by combination of detectors, from which events are removed.

    Args:
        slid: triggers of time slides.
        live: rows of the same time slides.
        observed_seconds: live time of the strain as it was recorded, s, by combination.
        complete_from: lowest score from which on all slid triggers are there; triggers of lower
            scores get no rate.

    Attributes:
        removed: events that were removed, in the order of their removal.
    """

    def __init__(
        self,
        slid: TriggerTable,
        live: LiveTimes,
        observed_seconds: dict[str, float],
        complete_from: float = -math.inf,
    ) -> None:
        self.slid, self.live, self.complete_from = slid, live, complete_from
        self.kept = np.ones(len(slid), bool)  # triggers of no removed event
        self._excluded = ExcludedTime(live)
        self.observed_seconds = observed_seconds
        self.removed: list[RemovedEvent] = []
        # Rows of `slid` in the order of the times of each detector, so that those of a zone are
        # found without a look at all others.
        self._order = [np.argsort(column, kind="stable") for column in slid.detector_times.T]
        self._sorted_times = [
            column[order] for column, order in zip(slid.detector_times.T, self._order, strict=True)
        ]
        # rows of each combination, ascending by score
        by_score = np.argsort(slid.score, kind="stable")
        self._rows = {
            name: by_score[slid.combination[by_score] == name]
            for name in sorted(set(live.combination.tolist()))
        }
        self._scores: dict[str, np.ndarray] = {}

    @property
    def seconds(self) -> np.ndarray:
        """Live time that remains of each row of `live`, (rows,) s."""
        return self._excluded.seconds

    @property
    def combinations(self) -> list[str]:
        """Names of the combinations with live time of slides."""
        found = self.live.combination[self.seconds > 0]
        return sorted(set(found.tolist()))

    def live_time(self, combination: str) -> float:
        """Return the live time of the slides of a combination, s."""
        return float(self.seconds[self.live.combination == combination].sum())

    @property
    def trial_seconds(self) -> float:
        """The live time, s, of the strain as recorded, of all combinations with a background."""
        return sum(self.observed_seconds.get(name, 0.0) for name in self.combinations)

    def scores(self, combination: str) -> np.ndarray:
        """Return the scores of a combination's slid triggers, ascending."""
        if combination not in self._scores:
            rows = self._rows[combination]
            self._scores[combination] = self.slid.score[rows[self.kept[rows]]]
        return self._scores[combination]

    def count_as_loud(self, score: np.ndarray, combination: str) -> np.ndarray:
        """Return how many slid triggers of a combination are at least as loud, int64."""
        scores = self.scores(combination)
        return len(scores) - np.searchsorted(scores, score, "left")

    def rate_triggers(self, score: np.ndarray, combination: np.ndarray) -> Significance:
        """Return how significant triggers are against the background as it is now.

        Args:
            score: (n,).
            combination: (n,) names of the detectors with strain.
        """
        as_loud = np.full(len(score), -1, np.int64)
        rate = np.full(len(score), np.nan)
        for name in self.combinations:
            rows = (combination == name) & (score >= self.complete_from)
            as_loud[rows] = self.count_as_loud(score[rows], name)
            rate[rows] = (1 + as_loud[rows]) / self.live_time(name)
        p_value = -np.expm1(-rate * self.trial_seconds)
        return Significance(as_loud, rate, as_loud == 0, p_value, gaussian_sigma(p_value))

    def remove_zone(self, zone: tuple[float, float]) -> tuple[int, float]:
        """Remove slid triggers with strain of a span of time in any detector, and its live time.

        Args:
            zone: start and end of the span, GPS, s.

        Returns:
            How many triggers, and how many seconds.
        """
        before = int(self.kept.sum())
        for times, order in zip(self._sorted_times, self._order, strict=True):
            low, high = np.searchsorted(times, zone)
            self.kept[order[low:high]] = False
        self._scores.clear()
        return before - int(self.kept.sum()), self._excluded.add(*zone)

    def remove_signals(self, found: TriggerTable, reach: float) -> Significance:
        """Remove signals from the background, the most significant first, and rate all triggers.

        Args:
            found: triggers of the strain as it was recorded.
            reach: s before and after a signal's trigger in which strain can show the signal,
                the error of the trigger's time included.

        Returns:
            How significant each trigger is: a signal against the background when it was its turn,
            all others against what remained at the end.
        """
        rated = np.zeros(len(found), bool)
        first = {}  # significance of the signals by row
        order = np.argsort(-found.score, kind="stable")
        while True:
            row = self._most_significant(found, order[~rated[order]])
            if row is None:
                break
            one = self.rate_triggers(found.score[[row]], found.combination[[row]])
            if not one.rate[0] * self.trial_seconds <= REMOVE_BELOW:
                break
            first[row] = one
            time = float(found.time[row])
            triggers, seconds = self.remove_zone((time - reach, time + reach))
            self.removed.append(RemovedEvent(time, float(found.score[row]), seconds, triggers))
            # What is left of the signal beside its loudest trigger is no further event.
            rated |= np.abs(found.time - time) <= reach
        last = self.rate_triggers(found.score, found.combination)
        for row, one in first.items():
            for name in ("as_loud", "rate", "is_limit", "p_value", "sigma"):
                getattr(last, name)[row] = getattr(one, name)[0]
        return last

    def _most_significant(self, found: TriggerTable, order: np.ndarray) -> int | None:
        """Return the row with the lowest rate, of equal ones the loudest; None without rates.

        Args:
            found: triggers.
            order: rows that compete, the loudest first.
        """
        tops = []
        for name in self.combinations:
            rows = order[found.combination[order] == name]
            if len(rows):  # the loudest of a combination is its most significant
                rate = self.rate_triggers(found.score[rows[:1]], found.combination[rows[:1]]).rate
                tops.append((float(rate[0]), -float(found.score[rows[0]]), int(rows[0])))
        return min(tops)[2] if tops else None


def gaussian_sigma(p_value: np.ndarray) -> np.ndarray:
    """Return the standard deviations beyond which one tail of a Gaussian holds p; at least 0."""
    from scipy.special import ndtri

    # ndtri(p) = -sigma for the lower tail; 1 - p would lose small values of p
    return np.maximum(-ndtri(p_value), 0.0)


# --- in words --------------------------------------------------------------------------------


def format_rate(rate: float, is_limit: bool) -> str:
    """Return a false-alarm rate in words, with '<' for a limit: '< 7 an hour', '3.1 a year'."""
    if not math.isfinite(rate):
        return "not known"
    units = {"hour": 3600.0, "day": 86_400.0, "month": SECONDS_PER_YEAR / 12}
    # the shortest unit with one false alarm or more; the longest where there is none
    unit = next((unit for unit, seconds in units.items() if rate * seconds >= 1), "year")
    seconds = units.get(unit, SECONDS_PER_YEAR)
    return f"{'< ' if is_limit else ''}{rate * seconds:.3g} a{'n' if unit == 'hour' else ''} {unit}"
