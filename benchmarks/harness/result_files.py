"""Result files: one JSON and one Markdown file for each device, one entry for each benchmark."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import BENCHMARKS
from benchmarks.harness.machine import describe_device
from benchmarks.harness.measurements import (
    HEAD,
    Measurement,
    format_duration,
    format_missed_targets,
    markdown_table,
)
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, read_json, remove_temporaries, write_json
from runtime.locks import hold

FORMAT = 1
Results = dict[str, Any]


def load_results(path: Path) -> Results:
    """Read a file of results.

    Raises:
        UserError: it is not a file of results, or has another format.
    """
    results = read_json(path)
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise UserError(f"{path} holds no results of format {FORMAT}: move it away and run again")
    return results


def check_recorded_names(
    folder: Path, device: torch.device, name: str, wanted: Sequence[str]
) -> None:
    """Refuse to replace the record of more names by one of fewer.

    Args:
        folder: of the records.
        device: of the record.
        name: of the entry.
        wanted: what is to be measured; nothing stands for all that there is.

    Raises:
        UserError: the record holds names that are not in `wanted`.
    """
    path = folder / f"{describe_device(device)['slug']}.json"
    before = load_results(path)["benchmarks"].get(name) if path.exists() else None
    if before is None or not wanted:
        return
    recorded = before.get("names", ["all names"])
    if not set(recorded) <= set(wanted):
        raise UserError(
            f"{path} holds {name} of {', '.join(recorded)}, which {', '.join(wanted)} would "
            f"replace: leave --out out to print figures, leave the names out to record all, or "
            f"record into another folder"
        )


def record_entry(folder: Path, device: torch.device, name: str, entry: Mapping[str, Any]) -> Path:
    """Put one benchmark's entry into the device's files; return the JSON file.

    Entries of other benchmarks stay, with the conditions that they were measured under.
    """
    described = describe_device(device)
    path = folder / f"{described['slug']}.json"
    # Between reading and writing, another benchmark's entry would be lost.
    with locked_record(path):
        results = load_results(path) if path.exists() else {"format": FORMAT, "benchmarks": {}}
        results["device"] = described
        results["benchmarks"][name] = dict(entry)
        write_record(path, results, format_result_file(results))
    return path


# --- records: a JSON file and the same as Markdown -------------------------------------------


@contextlib.contextmanager
def locked_record(path: Path) -> Iterator[None]:
    """Hold a record against other processes; remove what killed ones left half written of it.

    Args:
        path: the JSON file; the Markdown file beside it has the same stem.
    """
    with hold(path.with_name(f".{path.stem}.lock"), wait=True):  # others take moments
        remove_temporaries(path.parent, [path.name])  # of the Markdown too, by the stem
        yield


def write_record(path: Path, results: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Write figures as JSON and their tables as Markdown; the caller holds the record."""
    # JSON first: the Markdown can be written again from it.
    write_json(path, results)
    with atomic_path(path.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def move_record_aside(path: Path) -> None:
    """Move a record that another one would replace aside, and say so; the caller holds it."""
    for each in (path, path.with_suffix(".md")):
        if each.exists():
            print(
                f"{each} is of other figures, and is now {move_aside(each).name}", file=sys.stderr
            )


def list_records(folder: Path) -> list[Path]:
    """Return the records in a folder, without those that were moved aside: they have a time."""
    return [path for path in sorted(folder.glob("*.json")) if "." not in path.stem]


def replace_between_marks(text: str, begin: str, end: str, lines: Sequence[str], page: Path) -> str:
    """Return a page's text with other lines between two marks.

    Args:
        page: what the text was read from, for the error.

    Raises:
        UserError: a mark is missing from the page.
    """
    # As few characters as possible, so that a second pair of marks would be a second match.
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise UserError(f"{page} lacks the lines {begin!r} and {end!r}: put them back")
    content = "\n".join([begin, "", *lines, end])
    return pattern.sub(lambda _: content, text)  # a function: backslashes are no group references


# --- as Markdown -----------------------------------------------------------------------------


def measurements_of(results: Results) -> list[tuple[Measurement, dict[str, Any]]]:
    """Return every row with the entry it belongs to, in the order of the benchmarks."""
    # Entries are stored in the order in which they were run. Unknown ones, of older versions,
    # come last.
    order = {name: place for place, name in enumerate(BENCHMARKS)}
    entries = sorted(results["benchmarks"].items(), key=lambda item: order.get(item[0], len(order)))
    return [
        (Measurement.from_plain(row), entry)
        for _, entry in entries
        for row in entry.get("rows", [])
    ]


def format_result_file(results: Results) -> list[str]:
    """Return the lines of a device's results: table, missed targets, details, conditions."""
    device = results["device"]
    lines = [f"# Results on {device['name']}", "", *format_device(results), ""]
    if any(entry["quick"] for entry in results["benchmarks"].values()):
        lines += ["**Made with `--quick`: tiny sizes and few repeats, nothing to judge by.**", ""]
    lines += [*format_measurements(results), ""]
    for entry in results["benchmarks"].values():
        for title, detail in entry.get("details", {}).items():
            lines += [f"## {title}", "", *detail, ""]
    return [*lines, "## Conditions", "", *format_conditions_table(results)]


def format_device(results: Results) -> list[str]:
    device = results["device"]
    what = f"{device['cores']} cores, {device['memory_gib']} GiB of memory"
    if device["kind"] == "cuda":
        what = f"{device['memory_gib']} GiB on the GPU, {device['cores']} cores"
        what += f" ({device['processor']})"
    return [
        f"{what}. Medians of repeated timings, both sides in turn in one run; the quartiles of the "
        "rounds' own ratios stand in brackets."
    ]


def format_measurements(results: Results) -> list[str]:
    """Return the table of all rows and the list of the targets that were missed."""
    kind = results["device"]["kind"]
    found = measurements_of(results)
    body = []
    for row, entry in found:
        # The mark goes to the figure itself, the third cell.
        cells = row.cells(kind)
        mark = " ⚠" if entry["load"]["disturbed"] else ""
        body.append((*cells[:2], cells[2] + mark, *cells[3:]))
    lines = markdown_table(HEAD, body)
    if any(entry["load"]["disturbed"] for _, entry in found):
        lines += ["", "⚠ Others used more than a tenth of the cores meanwhile: measure again."]
    missed = format_missed_targets([row for row, _ in found], kind)
    if missed:
        lines += ["", "Targets that were missed:", "", *missed]
    return lines


def format_conditions(results: Results) -> str:
    """Return a sentence on when, with what and beside whom the figures were measured."""
    entries = results["benchmarks"].values()
    days = sorted({entry["date"][:10] for entry in entries})
    torches = sorted({entry["versions"].get("torch", "unknown") for entry in entries})
    threads = sorted({str(entry["threads"]) for entry in entries})
    others = [entry["load"]["cores_used_by_others"] for entry in entries]
    known = [value for value in others if value is not None]  # not every system reports it
    beside = f", others used up to {max(known):.2f} cores meanwhile" if known else ""
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{when}, torch {', '.join(torches)}, {', '.join(threads)} threads{beside}."


def format_conditions_table(results: Results) -> list[str]:
    """Return a table of what each benchmark was run with, and beside what."""
    body = []
    for name, entry in results["benchmarks"].items():
        load = entry["load"]
        others = load["cores_used_by_others"]
        before = load["load_average_before"]
        versions = entry["versions"]
        body.append(
            (
                f"`{name}`",
                entry["date"],
                (entry["git_revision"] or "-")[:10]
                + ("+" if (entry["git_revision"] or "").endswith("+") else ""),
                f"{versions.get('torch', '-')}",
                str(entry["threads"]),
                "-" if before is None else f"{before[0]:.2f}",
                "-" if others is None else f"{others:.2f}",
                format_duration(load["seconds"]),
            )
        )
    head = (
        "benchmark",
        "date",
        "revision",
        "torch",
        "threads",
        "load average before",
        "cores used by others",
        "took",
    )
    return markdown_table(head, body)
