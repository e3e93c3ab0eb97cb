"""The report's list of searches: the folders that detect.py has left."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from reporting.files import text_or_none
from reporting.templates import render
from runtime.console import format_seconds
from runtime.errors import UserError
from runtime.files import is_number, read_json_object

# As search/folder.py names them, which lies above this wing.
RECORD, UNFINISHED, PAGE, CANDIDATES = (
    "detection.json",
    ".unfinished",
    "detection.html",
    "candidates.csv",
)
DEEPEST = 3  # folders below the results: results/<name>/detect/<search>
MOST_SEARCHES = 100
SKIPPED = ("tuning",)  # holds runs and no searches


@dataclass(frozen=True)
class ReportedSearch:
    """What the report knows of a search.

    Attributes:
        folder: where its results lie.
        record: the content of detection.json; empty where that is missing or damaged.
        loudest: the first row of candidates.csv, by its columns; empty without triggers.
        note: what is missing or wrong, a sentence; None where nothing is.
    """

    folder: Path
    record: Mapping[str, Any] = field(default_factory=dict)
    loudest: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


def read_searches(results: Path, others: Sequence[Path] = ()) -> list[ReportedSearch]:
    """Return the searches in a results folder and in other folders, by their paths.

    Args:
        others: folders of searches, or folders that hold some.

    Raises:
        UserError: one of the others is no folder, or holds no search.
    """
    folders = search_folders(results)
    for other in others:
        if not other.is_dir():
            raise UserError(f"--searches {other} is no folder: name one that detect.py wrote")
        there = search_folders(other)
        if not there:
            raise UserError(f"--searches {other} holds no search: name one that detect.py wrote")
        folders += [each for each in there if each not in folders]
    return [read_search(each) for each in folders[:MOST_SEARCHES]]


def search_folders(top: Path) -> list[Path]:
    """Return the folders of searches at and below a folder, sorted."""
    found = []
    for where, names, files in os.walk(top):
        depth = len(Path(where).relative_to(top).parts)
        if RECORD in files or UNFINISHED in names:
            found.append(Path(where))
        hidden = [name for name in names if name.startswith(".") or name in SKIPPED]
        names[:] = [] if depth >= DEEPEST else sorted(set(names) - set(hidden))
    return sorted(found)


def read_search(folder: Path) -> ReportedSearch:
    """Return what a folder of a search holds; what is missing or damaged becomes a note."""
    if not (folder / RECORD).is_file():
        return ReportedSearch(
            folder, note="it has not ended: the same command with --resume goes on with it"
        )
    try:
        record = read_json_object(folder / RECORD)
    except UserError as error:
        return ReportedSearch(folder, note=str(error))
    try:
        with open(folder / CANDIDATES, newline="", encoding="utf-8") as file:
            loudest = next(iter(csv.DictReader(file)), {})
    except (OSError, ValueError, csv.Error) as error:
        return ReportedSearch(folder, record, note=f"no triggers: {error}")
    return ReportedSearch(folder, record, {k: v for k, v in loudest.items() if k and v})


def searches_html(searches: Sequence[ReportedSearch], page_folder: Path) -> Markup:
    """Return the section on searches, '' where there is none.

    Args:
        page_folder: where the page lies, from which links to the searches' own pages lead.
    """
    if not searches:
        return Markup("")
    return render("searches.html", searches=[cells_of(each, page_folder) for each in searches])


def cells_of(search: ReportedSearch, page_folder: Path) -> dict[str, Any]:
    """Return what the template shows of a search; None for what is not known."""
    record, loudest = search.record, search.loudest
    start, end = record.get("gps_start"), record.get("gps_end")
    detectors = record.get("detectors")
    rate = loudest.get("false_alarms_per_year")
    page = search.folder / PAGE
    return {
        "name": str(search.folder),
        # The folder's name may hold anything, a colon too, which would read as a scheme.
        "link": f"./{quote(os.path.relpath(page, page_folder))}" if page.is_file() else None,
        "config": text_or_none(record.get("config")),
        "detectors": ", ".join(map(str, detectors)) if isinstance(detectors, list) else None,
        "span": f"{start:.0f} to {end:.0f}" if is_number(start) and is_number(end) else None,
        "live": seconds_or_none(record.get("live_seconds")),
        "slid": seconds_or_none(record.get("slid_live_seconds")),
        "triggers": record.get("candidates") if is_number(record.get("candidates")) else None,
        "gps": loudest.get("gps"),
        "score": loudest.get("score"),
        "rate": f"{loudest.get('limit', '')} {rate}".strip() if rate else None,
        "note": search.note,
    }


def seconds_or_none(value: Any) -> str | None:
    return format_seconds(float(value)) if is_number(value) else None
