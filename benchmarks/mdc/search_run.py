"""The searches of a run: segment by segment, each loaded and conditioned once for all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.mdc.run_folder import KindFindings, RunFolder, SearchFindings, SegmentRecord
from benchmarks.mdc.strain_sources import LoadedSegment, StrainSource
from data.recording import Recording
from physics.observation import Observation
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError
from search.conditioned_stretch import ConditionedStretch, ConditioningSettings, load_stretch
from search.peaks import StretchScorer
from search.search_stretch import search_stretch
from search.slides import list_time_slides
from search.stretches import plan_stretches
from search.trigger_table import TriggerTable, concatenate_tables
from simulation.continuous_strain_files import BACKGROUND, FOREGROUND, Segment

FORMAT = 1  # raise it when the same search would find something else
SECONDS_BETWEEN_LINES = 10  # of the log
LONGEST_STRETCH = 4096.0  # s; the PSD is tracked within a stretch


@dataclass(frozen=True)
class EventSettings:
    """Which triggers are kept.

    Args:
        cluster: s, within which only the loudest trigger is kept.
        least: score of the quietest trigger that is kept.
        slides: time slides of the background of each stretch, beside the strain as it is.
        shift: s, of the first time slide.
    """

    cluster: float
    least: float
    slides: int = 0
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.cluster <= 0 or self.shift <= 0 or self.slides < 0:
            raise UserError(
                f"cluster = {self.cluster:g} s, shift = {self.shift:g} s and slides = "
                f"{self.slides}: expected positive times and no negative number of slides"
            )


@dataclass(frozen=True)
class Search:
    """One way to search the strain.

    Attributes:
        name: as tables have it.
        key: of its folder.
        observation: that the scorer expects.
        scorer: of stretches of strain.
        events: which triggers are kept.
        scoring: all that decides the scores, in JSON's own types.
    """

    name: str
    key: str
    observation: Observation
    scorer: StretchScorer
    events: EventSettings
    scoring: Mapping[str, Any]

    def identity(self, conditioning: ConditioningSettings) -> dict[str, Any]:
        """Return all that decides what is found, in JSON's own types."""
        return {
            "format": FORMAT,
            "scoring": dict(self.scoring),
            "events": asdict(self.events),
            "conditioning": asdict(conditioning),
            "stretch": LONGEST_STRETCH,
        }


def open_findings(
    folder: RunFolder, searches: Sequence[Search], conditioning: ConditioningSettings
) -> dict[str, SearchFindings]:
    """Return where the findings of each search are, by its key; the caller holds the folder.

    Raises:
        UserError: the folder holds other searches under these keys.
    """
    return {
        search.key: SearchFindings(folder, search.key, search.identity(conditioning))
        for search in searches
    }


def run_searches(
    source: StrainSource,
    folder: RunFolder,
    searches: Sequence[Search],
    conditioning: ConditioningSettings,
    show_progress: bool | None = None,
    segments: Sequence[Segment] | None = None,
) -> dict[str, SearchFindings]:
    """Search all segments that have not been searched; return the findings by key of the search.

    Args:
        source: of the strain.
        folder: of the run; the caller holds its lock.
        searches: with different keys.
        conditioning: of the strain.
        show_progress: whether to draw a bar; default only on a terminal.
        segments: that are wanted; default all of the source.

    Raises:
        UserError: the folder holds other searches under these keys, the segments have no room for
            the time slides, or a scorer gave a NaN.
    """
    findings = open_findings(folder, searches, conditioning)
    segments = source.segments() if segments is None else segments
    check_room_for_slides(segments, searches)
    to_do = [
        segment
        for segment in segments
        if folder.read_strain(segment) is None
        or not all(found.has(segment) for found in findings.values())
    ]
    total, done = sum(segment.duration for segment in to_do), 0
    if len(to_do) < len(segments):
        LOGGER.info("%d of %d segments are done", len(segments) - len(to_do), len(segments))
    began = said = time.monotonic()
    with progress(total=total, desc="strain", unit="s", show=show_progress) as bar:
        for loaded in source.load(to_do):
            segment = loaded.segment
            missing = [search for search in searches if not findings[search.key].has(segment)]
            for search, found in search_segment(loaded, missing, conditioning):
                findings[search.key].write(segment, found)
            # Last of a segment: it is complete where this and the files of all searches are.
            folder.write_strain(SegmentRecord(segment, loaded.injections, loaded.glitches))
            bar.update(segment.duration)
            done += segment.duration
            now = time.monotonic()
            if bar.disable and now - said > SECONDS_BETWEEN_LINES and done < total:
                said, left = now, (now - began) * (total - done) / done
                LOGGER.info("%d of %d s searched, %s left", done, total, format_seconds(left))
    return findings


def check_room_for_slides(segments: Sequence[Segment], searches: Sequence[Search]) -> None:
    """Check, before hours of work, that whole segments have room for all time slides.

    Raises:
        UserError: even the longest is too short.
    """
    longest = max((segment.duration for segment in segments), default=0)
    length = min(float(longest), LONGEST_STRETCH)
    for search in searches:
        events, detectors = search.events, search.observation.detectors
        if len(detectors) < 2 or not segments:
            continue  # there is nothing to slide against
        room = len(list_time_slides(length, detectors, events.slides, events.shift)) - 1
        if room < events.slides:
            raise UserError(
                f"--slides {events.slides}: a segment of {length:g} s has room for {room} time "
                f"slides by multiples of {events.shift:g} s: ask for no more, or give longer "
                f"segments with --segment"
            )


def search_segment(
    loaded: LoadedSegment, searches: Sequence[Search], conditioning: ConditioningSettings
) -> list[tuple[Search, dict[str, KindFindings]]]:
    """Return what each search finds in background and foreground of a segment."""
    found: dict[str, dict[str, KindFindings]] = {search.key: {} for search in searches}
    for kind in (BACKGROUND, FOREGROUND):
        recordings = loaded.recordings[kind]
        # Searches that observe alike share the conditioned strain; only one set is in memory.
        for digest in dict.fromkeys(search.observation.digest for search in searches):
            alike = [search for search in searches if search.observation.digest == digest]
            began = time.process_time()
            stretches = condition_segment(
                recordings, loaded.segment, alike[0].observation, conditioning
            )
            seconds = time.process_time() - began
            for search in alike:
                slides = search.events.slides if kind == BACKGROUND else 0
                found[search.key][kind] = search_stretches(search, stretches, slides, seconds)
    return [(search, found[search.key]) for search in searches]


def condition_segment(
    recordings: Mapping[str, Recording],
    segment: Segment,
    observation: Observation,
    conditioning: ConditioningSettings,
) -> list[ConditionedStretch]:
    """Return the conditioned strain of a segment, in stretches if it has gaps.

    Raises:
        UserError: the observation has none of the detectors.
    """
    used = {name: each for name, each in recordings.items() if name in observation.detectors}
    if not used:
        raise UserError(
            f"the strain is of {', '.join(recordings)} and a search observes "
            f"{', '.join(observation.detectors)}: leave it out"
        )
    allowed = {name: [(float(segment.start), float(segment.end))] for name in used}
    planned = plan_stretches(used, allowed, observation, LONGEST_STRETCH)
    loaded = (load_stretch(used, stretch, observation, conditioning) for stretch in planned)
    return [stretch for stretch in loaded if stretch is not None]


def search_stretches(
    search: Search, stretches: Sequence[ConditionedStretch], slides: int, condition_seconds: float
) -> KindFindings:
    """Return what a search finds in the stretches of a segment.

    Args:
        search: which one.
        stretches: conditioned.
        slides: how many time slides of each.
        condition_seconds: CPU-seconds that conditioning took.

    Raises:
        UserError: a score is NaN.
    """
    # Of the CPU, as others may use it meanwhile; of the clock, for what a GPU does.
    began, elapsed, events = time.process_time(), time.perf_counter(), search.events
    tables = [TriggerTable.empty(search.observation.detectors)]
    live = np.zeros(2)  # of the strain as it is, and of all slides together
    short = 0  # stretches with fewer slides
    for stretch in stretches:
        shifts = list_time_slides(
            stretch.stretch.seconds, stretch.stretch.detectors, slides, events.shift
        )
        short += len(shifts) - 1 < slides
        table, seconds = search_stretch(
            stretch, search.scorer, shifts, events.cluster, events.least
        )
        if np.isnan(table.score).any():
            raise UserError(
                f"{search.name} scored NaN in the strain from GPS {stretch.stretch.start:.0f} on: "
                f"look at its weights"
            )
        tables.append(table)
        live += seconds[0], seconds[1:].sum()
    if short:
        LOGGER.warning(
            "%s: %d of the %d stretches from GPS %.0f on, of one detector or short, "
            "have fewer than %d time slides: live time counts what was slid",
            search.name,
            short,
            len(stretches),
            stretches[0].stretch.start,
            slides,
        )
    spent = {
        "condition": condition_seconds,
        "search": time.process_time() - began,
        "elapsed": time.perf_counter() - elapsed,
    }
    return KindFindings(concatenate_tables(tables), live, spent)
