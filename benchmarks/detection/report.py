"""The figures of detectors on the hold-out: their file, tables and page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import FIGURES, RESULTS, ROOT
from benchmarks.detection.holdout import HoldoutSettings
from benchmarks.detection.plots import draw_detection_plots
from benchmarks.detection.scores import FALSE_ALARMS, detectors_by_auc, format_with_error
from benchmarks.harness.measurements import markdown_table
from benchmarks.harness.result_files import (
    locked_record,
    move_record_aside,
    replace_between_marks,
    write_record,
)
from physics.observation import COMPETITION
from runtime.console import format_seconds
from runtime.errors import UserError
from runtime.files import atomic_path, read_json

FORMAT = 2
PAGE = ROOT / "docs" / "explanation" / "detection.md"
BEGIN, END = "<!-- ruler: python -m benchmarks.detection --page -->", "<!-- ruler end -->"
# AUC and its error on other samples of the competition's laws, with which these must agree.
EXPECTED = {
    "known waveform and time": (0.9994, 0.0002),
    "near-optimal, 60 templates": (0.896, 0.007),
    "matched filter, maximum": (0.855, 0.006),
    "matched filter, log-mean-exp": (0.859, 0.006),
}
KNOWN_APART = 0.01  # of matched filters in units of the noise, which float32 knows to 1e-4
Results = dict[str, Any]


# --- the file --------------------------------------------------------------------------------


def load_detection(path: Path) -> Results:
    """Read a file of detectors' results.

    Raises:
        UserError: it is none, or of another format.
    """
    results = read_json(path)
    if (
        not isinstance(results, dict)
        or results.get("format") != FORMAT
        or "detectors" not in results
    ):
        raise UserError(
            f"{path} holds no detectors' results of format {FORMAT}: move it away and run again"
        )
    return results


def record_detection(
    folder: Path, holdout: Mapping[str, Any], detectors: Mapping[str, Any]
) -> Path:
    """Put detectors into folder/detection.json and .md; return the JSON file.

    Those that were recorded before on the same samples stay, also if another kind of CPU has drawn
    them with other last digits. A record that would lose figures, of other samples or of a detector
    with other settings, is moved aside.
    """
    path = folder / "detection.json"
    results: Results = {"format": FORMAT, "holdout": dict(holdout), "detectors": dict(detectors)}
    with locked_record(path):
        if path.exists():
            before = load_detection(path)
            kept = before["detectors"]
            same = same_samples(before["holdout"], results["holdout"])
            # Figures of the same samples add up; those measured now replace their older ones.
            if same:
                results["detectors"] = kept | results["detectors"]
            if not same or any(
                kept[name].get("settings") != detectors[name].get("settings")
                for name in kept.keys() & detectors.keys()
            ):
                move_record_aside(path)
        lines = ["# Detectors on the simulated hold-out", "", *format_detection(results)]
        write_record(path, results, lines)
    return path


def same_samples(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two descriptions are of one hold-out, but for rounding."""
    apart = [abs(a - b) for a, b in zip(first["known"], second["known"], strict=False)]
    return {**first, "known": None} == {**second, "known": None} and max(apart) < KNOWN_APART


# --- as Markdown -----------------------------------------------------------------------------


def format_detection(results: Results) -> list[str]:
    """Return the description of the samples, the table of detectors and that by SNR."""
    holdout = results["holdout"]
    settings = HoldoutSettings.from_plain(holdout["settings"])
    return [
        f"{holdout['samples']:,} simulated samples, {holdout['signals']:,} of them with a signal "
        f"{format_law(settings)} (seed {settings.seed}).",
        "",
        *format_detectors(results),
        "",
        "AUC of the signals of some network SNR against all noise:",
        "",
        *format_grades(results),
        "",
        *format_monthly(results),
        *format_budgets(results),
        *format_costs(results),
    ]


def format_law(settings: HoldoutSettings) -> str:
    """Return how loud the signals are, and in which noise if not in the competition's."""
    population = settings.population
    low, high = population.snr
    law = f"of network SNR {low:g} to {high:g}, its density proportional to SNR^-2"
    if population.has_distance:
        law = f"at a distance by the law {population.distance or 'of the prior file'}"
    if settings.observation == COMPETITION:
        return law
    return f"{law}, in the noise of {settings.observation}"


def format_detectors(results: Results) -> list[str]:
    # The AUC depends on the law of the SNR: of another law there is nothing to compare with.
    settings = HoldoutSettings.from_plain(results["holdout"]["settings"])
    expects = settings.is_competition
    head = [
        "detector",
        "samples",
        "AUC",
        *([] if not expects else ["AUC elsewhere", "apart by"]),
        *(f"found at {fpr:g}" for fpr in FALSE_ALARMS),
    ]
    body = []
    for name, entry in detectors_by_auc(results):
        cells = [name, f"{entry['samples']:,}", format_with_error(entry["auc"], entry["auc_error"])]
        if expects:
            cells += format_expected(name, entry)
        for found in entry["efficiencies"].values():
            cells.append(format_with_error(found["efficiency"], found["error"]))
        body.append(cells)
    return markdown_table(head, body)


def format_expected(name: str, entry: Mapping[str, Any]) -> list[str]:
    if name not in EXPECTED:
        return ["-", "-"]
    value, error = EXPECTED[name]
    return [format_with_error(value, error), f"{sigmas_apart(name, entry):.1f} σ"]


def sigmas_apart(name: str, entry: Mapping[str, Any]) -> float:
    """Return how far an AUC is from that of the other measurement, in joint standard deviations."""
    value, error = EXPECTED[name]
    return abs(entry["auc"] - value) / math.hypot(entry["auc_error"], error)


def format_grades(results: Results) -> list[str]:
    # A dict as a set in the order of appearance. Detectors with fewer samples may lack grades.
    columns = {
        (grade["low"], grade["high"]): None
        for entry in results["detectors"].values()
        for grade in entry["grades"]
    }
    edges = sorted(columns, key=lambda edge: edge[0])
    settings = HoldoutSettings.from_plain(results["holdout"]["settings"])
    least = 0.0 if settings.population.has_distance else settings.population.snr[0]
    head = [
        "detector",
        *(f"{max(low, least):g} to {high:g}" if high else f"above {low:g}" for low, high in edges),
    ]
    body = []
    for name, entry in detectors_by_auc(results):
        by_edge = {(grade["low"], grade["high"]): grade for grade in entry["grades"]}
        found = [by_edge.get(edge) for edge in edges]
        body.append(
            [
                name,
                *("-" if g is None else format_with_error(g["auc"], g["auc_error"]) for g in found),
            ]
        )
    return markdown_table(head, body)


def format_monthly(results: Results) -> list[str]:
    """Return a table of what is found at false alarms a month, where that was measured."""
    measured = [
        (name, entry["monthly"])
        for name, entry in detectors_by_auc(results)
        if entry.get("monthly") is not None
    ]
    if not measured:
        return []
    rates = sorted({row["rate"] for _, each in measured for row in each["rows"]}, reverse=True)
    body = []
    for name, each in measured:
        by_rate = {row["rate"]: row for row in each["rows"]}
        found = [by_rate.get(rate) for rate in rates]
        body.append(
            [
                name,
                *(
                    "-" if row is None else format_with_error(row["efficiency"], row["error"])
                    for row in found
                ),
            ]
        )
    strains = dict.fromkeys(each["strain"] for _, each in measured)
    head = ["network", *(f"{rate:,.4g} a month" for rate in rates)]
    return [
        f"Found at false alarms a month, with thresholds of a search of continuous noise "
        f"({' '.join(strains).rstrip('.')}):",
        "",
        *markdown_table(head, body),
        "",
    ]


def format_budgets(results: Results) -> list[str]:
    """Return a table of what the training of the networks took, the best first; else nothing."""
    body = [
        [
            name,
            f"{budget['samples']:,}" if budget["samples"] else "-",
            str(budget["folds"]),
            format_seconds(budget["seconds"]),
            format_budget_device(budget),
            budget["from"] or "-",
        ]
        for name, entry in detectors_by_auc(results)
        if (budget := entry.get("budget")) is not None
    ]
    if not body:
        return []
    head = ["network", "samples seen", "folds", "training took", "on", "warm start from"]
    return ["What the training of the networks took:", "", *markdown_table(head, body), ""]


def format_budget_device(budget: Mapping[str, Any]) -> str:
    threads = budget["threads"]
    if not budget["device"].startswith("cpu"):
        return str(budget["device"])
    return f"CPU, {threads} thread{'' if threads == 1 else 's'}"


def format_costs(results: Results) -> list[str]:
    """Return a sentence on what each computation took."""
    took = {
        f"{entry['scorer']} {format_seconds(entry['seconds'])} on {entry['device']} "
        f"({entry['threads']} threads)": None
        for _, entry in detectors_by_auc(results)
        if entry["scorer"] != "known"
    }
    return [f"Computing the scores took: {'; '.join(took)}."] if took else []


# --- the page --------------------------------------------------------------------------------


def format_page_section(results: Results) -> list[str]:
    """Return what stands between the marks of the page."""
    link = os.path.relpath(RESULTS / "detection.md", PAGE.parent)
    return [
        *format_detection(results),
        "",
        "![Efficiency against SNR](../figures/detection-efficiency.png)",
        "",
        "![ROC curves](../figures/detection-roc.png)",
        "",
        f"All figures, finer grades and ROC curves: [detection.json]({link[:-2]}json).",
        "",
    ]


def replace_section(text: str, results: Results) -> str:
    """Return the page with new contents between its marks.

    Raises:
        UserError: a mark is missing from the page.
    """
    return replace_between_marks(text, BEGIN, END, format_page_section(results), PAGE)


def update_detection_page(path: Path = RESULTS / "detection.json") -> Sequence[Path]:
    """Write recorded figures into the page and draw its plots; return the written files."""
    results = load_detection(path)
    # Before the plots: a page without its marks is refused while nothing has changed yet.
    text = replace_section(PAGE.read_text(), results)
    drawn = draw_detection_plots(results, FIGURES)
    with atomic_path(PAGE) as temporary:
        temporary.write_text(text)
    return [PAGE, *drawn]
