"""What a search leaves in words and files: its triggers, its record, its figure, its summary."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configuration.config_class import ConfigMeta
from runtime.console import format_seconds
from runtime.files import atomic_path
from search.result import SearchResult
from search.search import Search

SECONDS_PER_HOUR = 3600.0


def write_triggers(path: Path, result: SearchResult) -> None:
    """Write the table of triggers, the loudest first."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "rank",
                "gps",
                "score",
                "probability",
                "slid_as_loud",
                "false_alarms_per_hour",
                "false_alarm_probability",
            ]
        )
        for rank, trigger in enumerate(result.triggers, 1):
            known = math.isfinite(trigger.rate)
            # False alarms are a Poisson process: the chance of one or more in the live time is
            # 1 - exp(-rate live time).
            chance = -math.expm1(-trigger.rate * result.live_time) if known else math.nan
            writer.writerow(
                [
                    rank,
                    f"{trigger.time:.3f}",
                    f"{trigger.score:.4f}",
                    f"{logistic(trigger.score):.6f}",
                    trigger.slid_as_loud if known else "",
                    f"{trigger.rate * SECONDS_PER_HOUR:.4g}" if known else "",
                    f"{chance:.4g}" if known else "",
                ]
            )


def logistic(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)) without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))


def make_search_record(
    strain: str | list[str], config: ConfigMeta, search: Search, filler: str
) -> dict[str, Any]:
    """Return the content of detection.json: what was searched, how, and what was counted.

    Args:
        strain: the files or the event that the command line names.
        filler: a sentence on what fills the channels of missing detectors.
    """
    result, background = search.result, search.result.background
    return {
        "command": sys.argv,
        "config": config.__name__,
        "name": config.name,
        "strain": strain,
        "detectors": list(result.detectors),
        "filled": filler,
        "gps_start": result.start,
        "gps_end": result.end,
        "options": asdict(search.settings),
        "folds": len(search.scorer.networks),
        "windows": result.windows,
        "scored": result.scored,
        "spoilt_by_gaps": result.gaps,
        "stretches": result.segments,
        "skipped_stretches": result.skipped_segments,
        "live_seconds": round(result.live_time, 3),
        "candidates": result.num_triggers,
        "slides_made": background.slides,
        "slid_windows": background.windows,
        "slid_live_seconds": round(background.live_time, 3),
        "slid_candidates": background.triggers,
        "slid_loudest": round(background.loudest, 4) if background.triggers else None,
    }


def write_figure(path: Path, result: SearchResult, config: ConfigMeta) -> None:
    """Draw the search; see plots.py."""
    from search.plots import draw_search

    title = (
        f"{config.__name__} on {', '.join(result.detectors)}, GPS {result.start:.0f} to "
        f"{result.end:.0f}"
    )
    with atomic_path(path) as temporary:
        draw_search(result, title).savefig(temporary, dpi=100)


def format_summary(result: SearchResult) -> str:
    """Return in a few sentences what a search found."""
    first, background = result.triggers[0], result.background
    text = (
        f"Searched {format_seconds(result.live_time)} of {', '.join(result.detectors)}: "
        f"{result.num_triggers} triggers, the loudest at GPS {first.time:.2f} with a score of "
        f"{first.score:.2f}"
    )
    if len(result.triggers) > 1:
        text += f", the next {result.triggers[1].score:.2f}"
    text += "."
    if background.live_time:
        count = first.slid_as_loud
        loudest = f", the loudest has {background.loudest:.2f}" if background.triggers else ""
        text += (
            f" Of {background.triggers} background triggers in "
            f"{format_seconds(background.live_time)} "
            f"{count or 'none'} {'was' if count < 2 else 'were'} as loud"
            f"{'' if count else loudest}: "
            f"{'' if count else 'at most '}{first.rate * SECONDS_PER_HOUR:.2g} false alarms "
            "an hour."
        )
    return text
