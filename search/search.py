"""A search through strain of any length, stretch by stretch.

Each stretch is read, conditioned, and scored as it was recorded and with its detectors shifted
against one another. What is found in it is stored before the next stretch is read, so that a month
needs no more memory than an hour, and a search that was killed is resumed. When all stretches are
done, the time slides of all of them together give the background, and with it the false-alarm
rates of the triggers (see background.py).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.data_quality import ExcludedTimes
from data.recording import Recording
from data.time_segments import TimeSegments
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from runtime.progress_lines import ProgressLines
from search.background import Background
from search.clustering import find_loudest_within
from search.conditioned_stretch import (
    ConditionedStretch,
    ConditioningSettings,
    divide_by_detectors,
    find_missing,
    load_stretch,
)
from search.filter_bank_scorer import FilterBankScorer
from search.folder import StretchStore
from search.live_times import LiveTimes, concatenate_live_times
from search.parts import Part
from search.peaks import StretchScorer, side_names_of
from search.result import SearchResult, WhitenedStrain
from search.search_file import SearchFile, write_search_file
from search.search_stretch import search_stretch
from search.settings import SearchSettings, check_settings, choose_time_slides, fit_time_slides
from search.stretch_results import StretchResult, pack_stretch_result, unpack_stretch_result
from search.stretches import Stretch, plan_stretches
from search.trigger_maps import whiten_around
from search.trigger_table import TriggerTable, concatenate_tables

# Triggers that a search of several stretches keeps of noise, an hour. Quieter ones cost most of the
# time, and at such a rate no trigger stands out.
KEPT_PER_HOUR = 50
LEAST_KEPT = 5  # of a short stretch
STRETCHES_LOOKED_AT = 3  # for the score that is kept


class SlideProgress:
    """Says how far the search of one stretch is.

    Args:
        lines: of the whole search.
        seconds: of the stretch.
        slides: of it, the unshifted strain included.
        where: the stretch in a few words.
    """

    def __init__(self, lines: ProgressLines, seconds: float, slides: int, where: str) -> None:
        self.lines, self.seconds, self.slides, self.where = lines, seconds, slides, where
        self.done = 0

    def count_slide(self) -> None:
        self.done += 1
        if self.done <= self.slides:  # parts of a stretch with fewer detectors come on top
            place = f"{self.where}, time slide {self.done} of {self.slides}"
            self.lines.advance(self.seconds / self.slides, place)

    def finish(self) -> None:
        """Count what was not counted: a stretch that was skipped has no slides."""
        left = max(self.slides - self.done, 0)
        self.lines.advance(self.seconds * left / self.slides, self.where)


class Search:
    """A search through the strain of all given detectors.

    Args:
        recordings: one for each detector; at least one.
        scorer: of stretches.
        settings: how to search.
        store: keeps what was found in each stretch, and gives what was found before; a search that
            was interrupted is resumed from there.
        observation: detectors, rate and window of the scorer.
        allowed: segments of each detector that may be searched; None allows all.
        excluded: what is not allowed, and why, for the result.
        name: begins the names under which stretches are stored.
        least: the lowest score of triggers that are kept, in place of that of the settings.

    Raises:
        UserError: a setting is out of its range, a recording is of a detector that is not
            observed, nothing is left to search, or the time slides do not fit.
    """

    def __init__(
        self,
        recordings: Mapping[str, Recording],
        scorer: StretchScorer,
        settings: SearchSettings,
        store: StretchStore | None = None,
        *,
        observation: Observation = COMPETITION,
        allowed: Mapping[str, TimeSegments] | None = None,
        excluded: Sequence[ExcludedTimes] = (),
        name: str = "stretch",
        least: float | None = None,
    ) -> None:
        check_settings(settings, observation)
        check_detectors(recordings, observation)
        self.recordings, self.scorer, self.settings = dict(recordings), scorer, settings
        self.store = StretchStore() if store is None else store
        self.observation, self.excluded, self.name = observation, list(excluded), name
        self.allowed = {} if allowed is None else dict(allowed)
        self.detectors = tuple(name for name in observation.detectors if name in recordings)
        self.stretches = self.plan()
        self._least = settings.least if least is None else least

    def plan(self) -> list[Stretch]:
        """Return the stretches to search.

        Raises:
            UserError: there are none, or the time slides do not fit into one of them.
        """
        settings = self.settings
        planned = plan_stretches(self.recordings, self.allowed, self.observation, settings.stretch)
        kept = [one for one in planned if one.end - one.start >= settings.shortest]
        if not kept:
            longest = max((one.end - one.start for one in planned), default=0.0)
            spans = ", ".join(
                f"{name} {recording.start:.0f} to {recording.end:.0f}"
                for name, recording in self.recordings.items()
            )
            raise UserError(
                f"no stretch of strain is long enough to be searched: the longest has "
                f"{longest:g} s (GPS: {spans}): give longer strain"
            )
        for stretch in kept:
            # Before hours of work: the last stretch may be the short one.
            choose_time_slides(
                stretch.end - stretch.start, stretch.detectors, settings, self.observation
            )
        return kept

    @property
    def least(self) -> float:
        """The lowest score of triggers that are kept.

        Without --least all triggers of windows in a search of one stretch are kept. Else they are
        the `KEPT_PER_HOUR` loudest triggers an hour of one of the first stretches, and all that are
        as loud elsewhere. Millions of quiet triggers would say nothing, and a scorer may pass over
        strain that cannot be so loud.
        """
        if self._least is None:
            self._least = self.choose_least()
        return self._least

    @property
    def has_bank(self) -> bool:
        """Whether a filter bank scores, which takes less time the less it is asked for."""
        return isinstance(self.scorer, FilterBankScorer)

    def choose_least(self) -> float:
        """Return the score that `least` is where it was not given."""
        # A filter bank passes over what cannot be loud enough, which makes it many times as fast.
        if len(self.stretches) == 1 and not self.has_bank:
            return -math.inf
        name = f"{self.name}_least"
        before = self.store.load(name)
        if before is not None:
            return float(before["least"])
        # The lowest of a few stretches: signals and glitches could make that of one too high. Of
        # windows one has to do, as it costs as much as searching it.
        levels: list[float] = []
        for stretch in self.stretches:
            if len(levels) == (STRETCHES_LOOKED_AT if self.has_bank else 1):
                break
            conditioned = self.load(stretch)
            if conditioned is not None:
                levels += self.quietest_kept(conditioned)
        least = min(levels, default=-math.inf)
        self.store.save(name, least=np.array(least))
        return least

    def quietest_kept(self, conditioned: ConditionedStretch) -> list[float]:
        """Return the score of the quietest of the triggers that are to be kept of a stretch.

        Returns:
            One score; none where nothing could be searched, or has fewer triggers.
        """
        self.scorer.prepare(conditioned)
        seconds = self.scorer.live_time({})
        if not seconds:
            return []
        count = max(math.ceil(KEPT_PER_HOUR * seconds / 3600), LEAST_KEPT)
        # Most of the time would go into peaks of the noise that are not among the loudest.
        for level in self.scorer.falling_levels(count) if self.has_bank else (-math.inf,):
            peaks = self.scorer.peaks({}, level)
            kept = find_loudest_within(peaks.time, peaks.score, self.settings.cluster)
            if len(kept) > count:
                return [float(np.sort(peaks.score[kept])[-count])]
        return []

    def load(self, stretch: Stretch) -> ConditionedStretch | None:
        """Return the conditioned strain of a stretch, None where there is too little."""
        conditioning = ConditioningSettings(self.settings.psd_every, self.settings.gate_snr)
        return load_stretch(self.recordings, stretch, self.observation, conditioning, self.allowed)

    def stretch_name(self, stretch: Stretch) -> str:
        """Return the name under which a stretch is stored."""
        return f"{self.name}_{stretch.number:06d}"

    # --- stretch by stretch ------------------------------------------------------------------

    def search_stretches(self, show_bar: bool | None = None, part: Part | None = None) -> None:
        """Search every stretch that has not been searched before, and store what is found.

        Args:
            show_bar: whether to draw a progress bar; None draws it on a terminal.
            part: search the stretches of this part alone.
        """
        stretches = self.stretches if part is None else part.take(self.stretches)
        total = sum(stretch.end - stretch.start for stretch in stretches)
        lines = ProgressLines("search", total, show_bar)
        for place, stretch in enumerate(stretches, 1):
            seconds = stretch.end - stretch.start
            if self.store.holds(self.stretch_name(stretch)):
                lines.skip(seconds)
                continue
            slides = 1 + (self.settings.slides if len(stretch.detectors) > 1 else 0)
            where = f"stretch {place} of {len(stretches)} at GPS {stretch.start:.0f}"
            progress = SlideProgress(lines, seconds, slides, where)
            found = self.search_one(stretch, progress.count_slide)
            progress.finish()
            self.store.save(self.stretch_name(stretch), **pack_stretch_result(found))
        lines.close()

    def search_one(
        self, stretch: Stretch, after_slide: Callable[[], None] = lambda: None
    ) -> StretchResult:
        """Return what is found in a stretch."""
        detectors = self.observation.detectors
        conditioned = self.load(stretch)
        tables, lives = [], []
        # Beside the stretch itself, parts of it that some of its detectors interrupt.
        for part in [] if conditioned is None else divide_by_detectors(conditioned):
            own = part.stretch
            choose = choose_time_slides if part is conditioned else fit_time_slides
            slides = choose(own.end - own.start, own.detectors, self.settings, self.observation)
            table, seconds = search_stretch(
                part, self.scorer, slides, self.settings.cluster, self.least, after_slide
            )
            tables.append(self.with_chi_squared(table))
            lives.append(
                LiveTimes.of_stretch(
                    detectors, own.number, (own.start, own.end), own.detectors, slides, seconds
                )
            )
        if conditioned is None:
            nothing = LiveTimes.of_stretch(detectors, stretch.number, (0, 0), (), [], np.empty(0))
            empty = TriggerTable.empty(detectors, side_names_of(self.scorer))
            return StretchResult(empty, nothing, [], True, find_missing(stretch, None))
        return StretchResult(
            concatenate_tables(tables),
            concatenate_live_times(lives),
            conditioned.gates,
            False,
            find_missing(stretch, conditioned),
        )

    def with_chi_squared(self, table: TriggerTable) -> TriggerTable:
        """Return the triggers of what the scorer has just searched, with their chi-squared.

        It is shown and not ranked by: time slides, which are many, go without.
        """
        rows = np.flatnonzero((table.slide == 0) & (table.template >= 0))
        if not isinstance(self.scorer, FilterBankScorer) or not len(rows):
            return table
        values = table.chi_squared.copy()
        values[rows] = self.scorer.chi_squared(table.time[rows], table.template[rows])
        return dataclasses.replace(table, chi_squared=values)

    def stored(self, stretch: Stretch) -> StretchResult:
        """Return what `search_stretches` found in a stretch.

        Raises:
            UserError: its file is damaged.
        """
        name = self.stretch_name(stretch)
        arrays = self.store.load(name)
        if arrays is None:
            raise RuntimeError(f"{name} was not searched")
        where = str(self.store.path(name))
        found = unpack_stretch_result(
            arrays, self.observation.detectors, where, side_names_of(self.scorer)
        )
        # A part of the search may have chosen a lower score on another machine.
        kept = found.table.score >= self.least
        return found if kept.all() else dataclasses.replace(found, table=found.table.take(kept))

    # --- all stretches together --------------------------------------------------------------

    def write_triggers(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Write the triggers and live times of all stretches to an HDF5 file.

        Args:
            path: of the file.
            identity: all that decides the results, in JSON types.
        """
        parts = (self.stored(stretch) for stretch in self.stretches)
        write_search_file(
            path,
            ((part.table, part.live) for part in parts),
            tuple(self.observation.detectors),
            self.least,
            identity,
            side_names_of(self.scorer),
        )

    def rate(self, own: SearchFile, others: Sequence[SearchFile] = ()) -> SearchResult:
        """Return the result of the search: its triggers against the background.

        Args:
            own: what `write_triggers` wrote, as it is read again.
            others: of other searches, whose time slides join the background.

        Raises:
            UserError: nothing at all could be searched.
        """
        if not sum(own.observed_seconds.values()):
            raise UserError(
                "nothing could be searched: no detector has enough strain without gaps and gates: "
                "give longer strain, or leave out the detector with the gaps"
            )
        # Stretches that follow one another both find a merger at the time that they share.
        kept = find_loudest_within(own.found.time, own.found.score, self.settings.cluster)
        found = own.found.take(kept)
        found = found.take(np.argsort(-found.score, kind="stable"))
        background = pool_background(own, others)
        # Signals in the strain of the other searches would be in their time slides as well.
        every = concatenate_tables([found, *(other.found for other in others)])
        reach = self.settings.signal_reach(self.observation)
        significance = background.remove_signals(every, reach).take(np.arange(len(found)))
        parts = [self.stored(stretch) for stretch in self.stretches]
        result = SearchResult(
            self.stretches[0].start,
            self.stretches[-1].end,
            self.detectors,
            found,
            significance,
            background,
            stretches=len(self.stretches),
            skipped_stretches=sum(part.skipped for part in parts),
            live_seconds=own.observed_seconds,
            slides=self.settings.slides,
            gates=[gate for part in parts for gate in part.gates],
            missing=[missing for part in parts for missing in part.missing],
            excluded=self.excluded,
            observation=self.observation,
        )
        return dataclasses.replace(result, whitened=self.cut_whitened(found))

    def cut_whitened(self, found: TriggerTable) -> dict[int, WhitenedStrain]:
        """Return the whitened strain around the loudest triggers, by their place in the table."""
        by_number = {stretch.number: stretch for stretch in self.stretches}
        whitened: dict[int, WhitenedStrain] = {}
        for row in range(min(self.settings.maps, len(found))):
            conditioned = self.load(by_number[int(found.stretch[row])])
            if conditioned is not None:
                whitened[row] = whiten_around(conditioned, float(found.time[row]))
        return whitened


def pool_background(own: SearchFile, others: Sequence[SearchFile]) -> Background:
    """Return the time slides of several searches as one background.

    Args:
        own: of the search whose triggers are to be rated.
        others: of other searches.
    """
    files = [own, *others]
    slid = concatenate_tables([file.slid for file in files])
    live = concatenate_live_times([file.live for file in files])
    return Background(
        slid,
        live.take(live.slide > 0),
        own.observed_seconds,
        complete_from=max(file.least for file in files),
    )


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
