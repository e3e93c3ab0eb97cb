"""The figures of sensitive distance: their tables, record, plot and page."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import FIGURES, RESULTS, ROOT
from benchmarks.harness.measurements import markdown_table
from benchmarks.harness.result_files import (
    locked_record,
    move_record_aside,
    replace_between_marks,
    write_record,
)
from benchmarks.mdc.challenge_sets import PUBLISHED
from benchmarks.mdc.plots import draw_sensitivity
from runtime.errors import UserError
from runtime.files import atomic_path, read_json

FORMAT = 1
PAGE = ROOT / "docs" / "explanation" / "sensitive-distance.md"
BEGIN, END = "<!-- sensitive distance: python -m benchmarks.mdc --page -->", "<!-- end -->"
RECORD = "mdc.json"

Record = dict[str, Any]


def strain_name(described: Mapping[str, Any]) -> str:
    """Return the name of some strain in the record, e.g. 'set 1, with glitches'."""
    name = described["set"]
    name = f"set {name}" if name.isdigit() else name
    return f"{name}, with glitches" if described.get("glitches") else name


# --- tables ---------------------------------------------------------------------------------


def format_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 or rate == round(rate) else f"{rate:.3g}"


def format_distance(distance: Mapping[str, float] | None) -> str:
    """Return '2,921 ± 39 (2,900 to 2,950)', in Mpc."""
    if distance is None:
        return "-"
    low, high = sorted((distance["low"], distance["high"]))
    return f"{distance['value']:,.0f} ± {distance['error']:.0f} ({low:,.0f} to {high:,.0f})"


def format_volume(distance: Mapping[str, float] | None) -> str:
    """Return '101.2 ± 4.0', in Gpc^3."""
    if distance is None:
        return "-"
    return f"{distance['volume'] / 1e9:.1f} ± {distance['volume_error'] / 1e9:.1f}"


def format_search(figures: Mapping[str, Any]) -> list[str]:
    """Return the table of one search: a row for each rate."""
    head = [
        "false alarms a month",
        "background louder",
        "threshold",
        "found",
        "sensitive distance, Mpc",
        "volume, Gpc³",
        "by the challenge's script, Mpc",
        "false alarms in the foreground",
    ]
    body = []
    for row in figures["rows"]:
        rate = format_rate(row["rate"])
        if row["unresolved"] is not None:
            body.append([rate, f"not resolved: {row['unresolved']}", *["-"] * (len(head) - 2)])
            continue
        share = row["found"] / figures["injections"] if figures["injections"] else math.nan
        body.append(
            [
                rate,
                str(row["background_louder"]),
                f"{row['threshold']:.2f}",
                f"{row['found']:,} ({share:.1%})",
                format_distance(row["population"]),
                format_volume(row["population"]),
                format_distance(row["sample"]),
                f"{row['foreground_alarms']} ({row['foreground_alarms_expected']:.1f} expected)",
            ]
        )
    return markdown_table(head, body)


def format_comparison(searches: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the table that compares searches with one another and with what is published.

    Args:
        searches: figures by name of the search.
        name: of the data set.
    """
    rates = [
        rate
        for rate in sorted(
            {row["rate"] for each in searches.values() for row in each["rows"]}, reverse=True
        )
        if any(resolved_row(each, rate) is not None for each in searches.values())
    ]
    published = PUBLISHED.get(name, ())
    rates = sorted({*rates, *(rate for each in published for rate in each.distances)}, reverse=True)
    head = ["sensitive distance, Mpc, at false alarms a month", *map(format_rate, rates), "strain"]
    body = []
    for title, key in (("true maxima", "population"), ("the script's maxima", "sample")):
        for search, figures in searches.items():
            cells = []
            for rate in rates:
                row = resolved_row(figures, rate)
                distance = None if row is None else row[key]
                cells.append(
                    "-"
                    if distance is None
                    else f"{distance['value']:,.0f} ± {distance['error']:.0f}"
                )
            if any(cell != "-" for cell in cells):
                body.append([f"{search}, {title}", *cells, format_days(figures)])
    for each in published:
        cells = [
            f"{each.distances[rate]:,.0f}" if rate in each.distances else "-" for rate in rates
        ]
        body.append([f"{each.name}, published: {each.source}", *cells, "30 d"])
    return markdown_table(head, body)


def resolved_row(figures: Mapping[str, Any], rate: float) -> Mapping[str, Any] | None:
    """Return the row of a rate, None where the background does not resolve it."""
    for row in figures["rows"]:
        if math.isclose(row["rate"], rate) and row["unresolved"] is None:
            return row
    return None


def format_days(figures: Mapping[str, Any]) -> str:
    """Return the length of the strain, and of its background if slides add to it."""
    days = figures["strain_seconds"] / 86_400
    text = f"{days:.3g} d"
    if figures["background_seconds"] > 1.5 * figures["strain_seconds"]:
        text += f", background with slides {figures['background_seconds'] / 86_400:.3g} d"
    return text


def format_shares(figures: Mapping[str, Any], key: str, digits: int = 0) -> list[str]:
    """Return the table of shares found in ranges of a quantity: a row for each rate."""
    rows = [row for row in figures["rows"] if row["unresolved"] is None and row.get(key)]
    if not rows:
        return []
    ranges = [(share["low"], share["high"]) for share in rows[0][key]]
    head = [
        "false alarms a month",
        *(
            f"{low:.{digits}f} to {high:.{digits}f}" if high < 1e4 else f"above {low:.{digits}f}"
            for low, high in ranges
        ),
    ]
    body = [["injections", *(f"{share['injections']:,}" for share in rows[0][key])]]
    for row in rows:
        shares = [
            f"{share['found'] / share['injections']:.3f}" if share["injections"] else "-"
            for share in row[key]
        ]
        body.append([format_rate(row["rate"]), *shares])
    return markdown_table(head, body)


def format_cost(search: str, figures: Mapping[str, Any]) -> str:
    """Return a line on what a search cost."""
    hours = 2 * figures["strain_seconds"] / 3600  # background and foreground, both
    spent = {name: value / hours for name, value in figures["seconds"].items()}
    slides = figures["settings"]["events"]["slides"]
    searched = f"searching (with {slides} time slides of the background)" if slides else "searching"
    return (
        f"{search}: conditioning {spent['condition']:.1f} and {searched} {spent['search']:.1f} "
        f"CPU-seconds an hour of strain, {spent['elapsed']:.1f} s elapsed in searching, on "
        f"{figures['device']} with {figures['threads']} threads, at most "
        f"{figures['peak_memory_mib']:,} MiB of memory."
    )


def format_strain(described: Mapping[str, Any], searches: Mapping[str, Any]) -> list[str]:
    """Return all tables of some strain."""
    lines = [described["sentence"], "", *format_comparison(searches, described["set"]), ""]
    for search, figures in searches.items():
        lines += [f"### {search}", "", *format_search(figures), ""]
        for title, key in (
            ("Share that is found, by chirp distance in Mpc:", "by_chirp_distance"),
            ("By network SNR:", "by_snr"),
        ):
            table = format_shares(figures, key)
            lines += [title, "", *table, ""] if table else []
        lines += [format_cost(search, figures), ""]
    return lines


# --- record ---------------------------------------------------------------------------------


def load_record(path: Path) -> Record:
    """Read a record of sensitive distances.

    Raises:
        UserError: it is none, or of another format.
    """
    record = read_json(path)
    if (
        not isinstance(record, dict)
        or record.get("format") != FORMAT
        or not isinstance(record.get("strains"), dict)
    ):
        raise UserError(
            f"{path} holds no sensitive distances of format {FORMAT}: move it away and run again"
        )
    return record


def record_run(
    folder: Path, described: Mapping[str, Any], searches: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Put the figures of a run into folder/mdc.json and .md; return the JSON file.

    Figures of other strain stay, and those of other searches of the same strain. A record that
    would lose figures, of other strain under the same name, is moved aside.
    """
    path = folder / RECORD
    name = strain_name(described)
    with locked_record(path):
        record: Record = {"format": FORMAT, "strains": {}}
        if path.exists():
            record = load_record(path)
        before = record["strains"].get(name)
        kept: dict[str, Any] = {}
        if before is not None:
            if before["described"] == dict(described):
                kept = before["searches"]
            else:
                move_record_aside(path)
        record["strains"][name] = {
            "described": dict(described),
            "searches": {**kept, **{key: dict(value) for key, value in searches.items()}},
        }
        write_record(path, record, format_record(record))
    return path


def format_record(record: Record) -> list[str]:
    """Return the lines of the record's Markdown file."""
    lines = ["# Sensitive distance", ""]
    for name, strain in record["strains"].items():
        lines += [f"## {name}", "", *format_strain(strain["described"], strain["searches"])]
    return lines


# --- page -----------------------------------------------------------------------------------


def figure_path(folder: Path, name: str) -> Path:
    """Return the path of the plot of some strain."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return folder / f"sensitive-distance-{slug}.png"


def format_page_section(record: Record) -> list[str]:
    """Return what stands between the marks of the page."""
    link = os.path.relpath(RESULTS / RECORD, PAGE.parent)
    lines = []
    for name, strain in record["strains"].items():
        described, searches = strain["described"], strain["searches"]
        picture = os.path.relpath(figure_path(FIGURES, name), PAGE.parent)
        lines += [
            f"### {name[0].upper()}{name[1:]}",
            "",
            described["sentence"],
            "",
            *format_comparison(searches, described["set"]),
            "",
            f"![Sensitive distance, {name}]({picture})",
            "",
            *[
                line
                for search, each in searches.items()
                for line in (format_cost(search, each), "")
            ],
        ]
    return [*lines, f"All figures: [mdc.md]({link[:-4]}md), [mdc.json]({link}).", ""]


def update_page(path: Path = RESULTS / RECORD) -> Sequence[Path]:
    """Write recorded figures into the page and draw its plots; return the written files.

    The record's own Markdown is written as well: else its tables would be those of an earlier
    version of this file beside a page of this one.
    """
    with locked_record(path):
        record = load_record(path)
        write_record(path, record, format_record(record))
    # Before the plots: a page without its marks is refused while nothing has changed yet.
    text = replace_between_marks(PAGE.read_text(), BEGIN, END, format_page_section(record), PAGE)
    drawn = []
    for name, strain in record["strains"].items():
        drawn.append(figure_path(FIGURES, name))
        draw_sensitivity(
            strain["searches"], PUBLISHED.get(strain["described"]["set"], ()), drawn[-1]
        )
    with atomic_path(PAGE) as temporary:
        temporary.write_text(text)
    return [PAGE, path.with_suffix(".md"), *drawn]
