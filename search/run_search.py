"""One whole search, from the strain to its result files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.console import LOGGER, format_seconds
from runtime.files import write_json
from search.folder import RECORD, SearchFolder
from search.injections import (
    InjectionResult,
    InjectionSettings,
    SignalsInTime,
    inject_into_recordings,
    match_injections,
)
from search.live_times import LiveTimes
from search.page import write_page
from search.parts import Part
from search.result import SearchResult
from search.result_files import make_search_record, write_candidates, write_excluded, write_figure
from search.search import Search
from search.search_file import SearchFile, read_search_file
from search.sensitivity_files import store_injections, write_injections, write_sensitivity


@dataclasses.dataclass(frozen=True)
class SearchJob:
    """What a search is to do beside searching.

    Attributes:
        title: of the figure and the page.
        further: entries of detection.json that only the command knows.
        others: searches whose time slides join the background.
        injections: what to inject, None for nothing.
        show_bar: whether to draw progress bars; None draws them on a terminal.
    """

    title: str
    further: Mapping[str, Any]
    others: Sequence[SearchFile] = ()
    injections: InjectionSettings | None = None
    show_bar: bool | None = None


def run_search(search: Search, job: SearchJob, folder: SearchFolder) -> SearchResult:
    """Search, and write all results beside one another into the folder's `unfinished`.

    Returns:
        What was found.

    Raises:
        UserError: nothing could be searched, or a file cannot be read.
    """
    out = folder.unfinished
    search.search_stretches(job.show_bar)
    triggers = out / "triggers.hdf5"
    search.write_triggers(triggers, folder.identity)
    own = read_search_file(triggers)
    result = search.rate(own, job.others)
    say_what_was_left_out(result)
    say_where_slides_are_fewer(own.live, search.settings.slides)
    found = None
    if job.injections is not None:
        found = search_injections(search, result, job, out)
        store_injections(triggers, found)
        write_injections(out / "injections.csv", found)
        write_sensitivity(out / "sensitivity.csv", found, result)
    write_candidates(out / "candidates.csv", result)
    write_excluded(out / "excluded.csv", result)
    write_figure(out / "detection.png", result, job.title)
    write_page(out / "detection.html", result, job.title, found)
    record = make_search_record(result, search.settings, job.further)
    record["options"]["least"] = search.least if search.least > float("-inf") else None
    if found is not None:
        record["further_files"] = ["injections.csv", "sensitivity.csv"]
        record["injections"] = len(found.injections)
    write_json(out / RECORD, record | {"identity": folder.identity})
    return result


def search_part(search: Search, job: SearchJob, part: Part) -> None:
    """Search the stretches of a part, with injections too if the job has any, and store them."""
    search.search_stretches(job.show_bar, part)
    if job.injections is not None:
        injected, _ = make_injected_search(search, job.injections)
        injected.search_stretches(job.show_bar, part)


def make_injected_search(
    search: Search, settings: InjectionSettings
) -> tuple[Search, SignalsInTime]:
    """Return the search of the strain with injections, without time slides, and the injections."""
    start, end = search.stretches[0].start, search.stretches[-1].end
    signals = SignalsInTime(settings, search.observation, start, end)
    injected = Search(
        inject_into_recordings(search.recordings, signals),
        search.scorer,
        dataclasses.replace(search.settings, slides=0, maps=0),
        search.store,
        observation=search.observation,
        allowed=search.allowed,
        name="injected",
        least=search.least,
    )
    return injected, signals


def search_injections(
    search: Search, result: SearchResult, job: SearchJob, out: Path
) -> InjectionResult:
    """Search the strain with injections, and return what is found of them."""
    settings = job.injections
    injected, signals = make_injected_search(search, settings)
    injected.search_stretches(job.show_bar)
    path = out / "injected.hdf5"  # is removed with all that is not a result
    injected.write_triggers(path, {})
    spans = [
        (stretch.start, stretch.end)
        for stretch in injected.stretches
        if not injected.stored(stretch).skipped
    ]
    found = read_search_file(path).found
    reach = search.settings.signal_reach(search.observation)
    return match_injections(signals.parameters(), found, result.background, spans, settings, reach)


def say_what_was_left_out(result: SearchResult) -> None:
    """Log how much strain was not searched, and where there is no background."""
    if result.skipped_stretches:
        LOGGER.warning(
            f"{result.skipped_stretches} of {result.stretches} stretches have too little clean "
            f"strain and were not searched"
        )
    if result.gates:
        seconds = sum(gate.end - gate.start for gate in result.gates)
        LOGGER.info(
            f"{len(result.gates)} glitches, {seconds:.1f} s in all, were gated: see excluded.csv"
        )
    without = [name for name in result.live_seconds if name not in result.background.combinations]
    for name in without:
        seconds = format_seconds(result.live_seconds[name])
        LOGGER.info(
            f"{seconds} of {name} have no false-alarm rates: there are no time slides of {name}"
            + (", as one detector cannot be slid against another" if len(name) == 2 else "")
        )


def say_where_slides_are_fewer(live: LiveTimes, slides: int) -> None:
    """Log how many parts of stretches have no room for all time slides; a stretch always has."""
    short, pieces = live.count_short_of_slides(slides)
    if short:
        LOGGER.info(
            f"{short} of {pieces} pieces of strain, parts of stretches that a detector interrupts, "
            f"are too short for --slides {slides} and have fewer: the live time of the background "
            f"counts what was slid"
        )
