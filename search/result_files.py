"""What a search leaves in words and files: its triggers, its record, its figure, its summary."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.console import format_seconds
from runtime.files import atomic_path
from search.background import SECONDS_PER_YEAR, format_rate
from search.result import SearchResult
from search.settings import SearchSettings
from search.trigger_table import side_column, trigger_cell_names, trigger_cells

RATE_COLUMNS = (
    "slid_as_loud",
    "limit",
    "false_alarms_per_year",
    "ifar_years",
    "p_value",
    "sigma",
    "removed",
)


def write_candidates(path: Path, result: SearchResult) -> None:
    """Write all triggers of the strain as it was recorded, the loudest first.

    Where the column `limit` has '<', the rate and the p-value are lower than they say, and IFAR and
    sigma higher. `removed` marks triggers that count as signals, whose strain is no background.
    """
    names = trigger_cell_names(result.observation.detectors, result.triggers.side_names)
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, ["rank", *names, *RATE_COLUMNS])
        writer.writeheader()
        for row in range(len(result.triggers)):
            cells = {"rank": str(row + 1)} | trigger_cells(result.triggers, row)
            writer.writerow(cells | rate_cells(result, row))


def rate_cells(result: SearchResult, row: int) -> dict[str, str]:
    """Return how significant a trigger is, as cells by the names in `RATE_COLUMNS`."""
    rated = result.significance
    if not math.isfinite(rated.rate[row]):
        return dict.fromkeys(RATE_COLUMNS, "")
    removed = {event.time for event in result.background.removed}
    return {
        "slid_as_loud": str(rated.as_loud[row]),
        "limit": "<" if rated.is_limit[row] else "",
        "false_alarms_per_year": f"{rated.rate[row] * SECONDS_PER_YEAR:.4g}",
        "ifar_years": f"{rated.ifar_years[row]:.4g}",
        "p_value": f"{rated.p_value[row]:.4g}",
        "sigma": f"{rated.sigma[row]:.3f}",
        "removed": "1" if float(result.triggers.time[row]) in removed else "",
    }


def write_excluded(path: Path, result: SearchResult) -> None:
    """Write the strain that was not searched.

    What flags and files exclude as a sum for each of them; gaps of a stretch, to which its excluded
    times and runs of equal samples belong, and gates one by one.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["detector", "reason", "gps_start", "gps_end", "seconds", "snr"])
        for item in result.excluded:
            writer.writerow([item.detector, item.what, "", "", f"{item.seconds:g}", ""])
        for gap in result.missing:
            row = [gap.detector, "gap, excluded or equal samples"]
            row += [f"{gap.start:.4f}", f"{gap.end:.4f}", f"{gap.end - gap.start:.4f}", ""]
            writer.writerow(row)
        for gate in result.gates:
            row = [gate.detector, "gate", f"{gate.start:.4f}", f"{gate.end:.4f}"]
            writer.writerow([*row, f"{gate.end - gate.start:.4f}", f"{gate.snr:.1f}"])


def make_search_record(
    result: SearchResult, settings: SearchSettings, further: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of detection.json: what was searched, how, and what was counted.

    Args:
        result: what was found.
        settings: of the search.
        further: what only the command knows, such as the names of files.
    """
    background = result.background
    slid = background.slid.score[background.kept]
    return {
        "command": sys.argv,
        **further,
        "detectors": list(result.detectors),
        "gps_start": result.start,
        "gps_end": result.end,
        "options": asdict(settings),
        "stretches": result.stretches,
        "skipped_stretches": result.skipped_stretches,
        "live_seconds": round(result.live_time, 3),
        "live_seconds_by_combination": {
            name: round(seconds, 3) for name, seconds in result.live_seconds.items()
        },
        "candidates": len(result.triggers),
        "slides": result.slides,
        "slid_live_seconds": round(result.slid_seconds, 3),
        "slid_live_seconds_by_combination": {
            name: round(background.live_time(name), 3) for name in background.combinations
        },
        "slid_candidates": len(slid),
        "slid_loudest": round(float(slid.max()), 4) if len(slid) else None,
        "removed_from_background": [asdict(event) for event in background.removed],
        "gates": len(result.gates),
        "gaps": len(result.missing),
        "excluded": [asdict(item) for item in result.excluded],
    }


def write_figure(path: Path, result: SearchResult, title: str) -> None:
    """Draw the search; see plots.py."""
    from search.plots import draw_search

    with atomic_path(path) as temporary:
        draw_search(result, title).savefig(temporary, dpi=100)


# --- in words --------------------------------------------------------------------------------


def format_live_seconds(result: SearchResult) -> str:
    """Return how long each combination of detectors was searched: '1 h 02 min of H1L1'."""
    parts = [
        f"{format_seconds(seconds)} of {name}" for name, seconds in result.live_seconds.items()
    ]
    return " and ".join(parts)


def format_summary(result: SearchResult) -> str:
    """Return in a few sentences what a search found."""
    triggers = result.triggers
    text = f"Searched {format_live_seconds(result)}: {len(triggers) or 'no'} triggers"
    if not len(triggers):
        return f"{text}."
    text += f", the loudest at GPS {triggers.time[0]:.2f} with a score of {triggers.score[0]:.2f}"
    if len(triggers) > 1:
        text += f", the next {triggers.score[1]:.2f}"
    if triggers.side_names:
        cells = trigger_cells(triggers, 0)
        said = [
            f"{name.replace('_', ' ')} {cells[side_column(name)] or 'unknown'}"
            for name in triggers.side_names
        ]
        text += f". Predicted of the loudest: {', '.join(said)}"
    return f"{text}. {format_significance(result)}"


def format_removal(result: SearchResult) -> str:
    """Return how much time of all slides remained when signals were removed, in parentheses.

    Empty where nothing was removed.
    """
    removed = result.background.removed
    if not removed:
        return ""
    loudest = len(removed) == 1 and removed[0].time == float(result.triggers.time[0])
    what = "the loudest was removed" if loudest else f"{len(removed)} signals were removed"
    if len(removed) == 1 and not loudest:
        what = "a signal was removed"
    return f" ({format_seconds(result.slid_seconds)} after {what})"


def format_significance(result: SearchResult) -> str:
    """Return how significant the loudest trigger is, and what bounds that."""
    rated, background = result.significance, result.background
    name = str(result.triggers.combination[0])
    if not math.isfinite(rated.rate[0]):
        if name not in background.combinations:
            return f"There are no time slides of {name}, and so no false-alarm rates."
        return (
            f"The background holds no triggers below a score of {background.complete_from:g}, and "
            f"so there is no false-alarm rate for this one."
        )
    slides = (1 + rated.as_loud[0]) / rated.rate[0]  # s of background it was rated against
    p_value, sigma = rated.p_value[0], rated.sigma[0]
    rate = format_rate(rated.rate[0], bool(rated.is_limit[0]))
    if rated.is_limit[0]:
        text = (
            f"No slid trigger is as loud in {format_seconds(slides)} of time slides"
            f"{format_removal(result)}: "
            f"{rate.replace('< ', 'less than ')} as a false-alarm rate (IFAR > "
            f"{rated.ifar_years[0]:.3g} years), p < {p_value:.2g}, more than {sigma:.1f} sigma. "
            f"This is the floor that the length of the strain and its time slides set, not the "
            f"trigger: more slides or more strain lower it."
        )
    else:
        count = int(rated.as_loud[0])
        text = (
            f"{count} slid trigger{'s are' if count > 1 else ' is'} as loud in "
            f"{format_seconds(slides)} of time slides{format_removal(result)}: a false-alarm rate "
            f"of {rate} (IFAR "
            f"{rated.ifar_years[0]:.3g} years), p = {p_value:.2g}, {sigma:.1f} sigma, "
            f"known to {100 / math.sqrt(count + 1):.0f} % as {count + 1} events count."
        )
    if removed := len(background.removed):
        what = (
            "trigger counts as a signal and is"
            if removed == 1
            else "triggers count as signals and are"
        )
        text += f" {removed} {what} removed from the background of the others."
    return text
