"""The report as one HTML file that needs no other file and no network.

The table is HTML; `assets/*.js` draw the charts from the JSON in the page. The content security
policy admits only the page's own script and style, by their hashes: even a name or a setting that
was not escaped could not run.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from experiments.strain_maps import map_strain
from reporting.breakdown_html import breakdown_html
from reporting.cells import TableColumn, table_columns
from reporting.comparison import PairedDifference, compare_scores, comparison_data, comparison_html
from reporting.curves import MOST_POINTS
from reporting.reported_run import ReportedRun
from reporting.searches import ReportedSearch, searches_html
from reporting.stack import StackSummary
from reporting.stack_html import stack_section_html
from reporting.strain_maps import MOST_RUNS, strain_maps_html
from reporting.templates import ASSETS, render
from reporting.tuning import ReportedStudy, tuning_section_html

SCRIPTS = ("charts.js", "figures.js", "quality.js", "page.js")
LONGEST = 400  # characters of a setting that are shown
MOST_SETTINGS = 400
DEEPEST = 12  # levels of nested settings
MOST_EPOCHS = 200  # of a learning curve
MOST_POINTS_BY_STEP = 200  # of a training loss by step
MOST_STARTS = 5
# Curves beside those of losses and scores.
STEP_CURVES = ("learning_rate", "gradient_norm", "clipped_steps", "samples_per_second")


def page_html(
    runs: Sequence[ReportedRun],
    stack: StackSummary,
    results: Path,
    studies: Sequence[ReportedStudy] = (),
    searches: Sequence[ReportedSearch] = (),
    page_folder: Path | None = None,
) -> str:
    """Return the whole page.

    Args:
        page_folder: where it will lie; None for the results folder.
    """
    style = Markup((ASSETS / "style.css").read_text(encoding="utf-8"))
    script = Markup("\n").join(
        Markup((ASSETS / name).read_text(encoding="utf-8")) for name in SCRIPTS
    )
    differences = compare_runs(runs)
    return render(
        "page.html",
        # Of exactly the text that follows: one character more and the browser runs nothing.
        policy=content_security_policy(script, style),
        style=style,
        script=script,
        results=str(results),
        made=time.strftime("%Y-%m-%d %H:%M"),
        count=count_runs(runs),
        cards=list_cards(runs, stack),
        table=run_table_html(runs),
        breakdowns=breakdown_html(runs),
        comparison=comparison_html(differences, [run.name for run in runs]),
        looked_at=looked_at_html(runs),
        stack=stack_section_html(stack),
        tuning=tuning_section_html(studies),
        searches=searches_html(searches, page_folder or results),
        sets=sets_note(runs),
        thinning=thinning_note(runs),
        most=MOST_POINTS,
        data=script_json(chart_data(runs) | {"pairs": comparison_data(differences)}),
    )


def compare_runs(runs: Sequence[ReportedRun]) -> dict[str, list[PairedDifference]]:
    """Return the differences of complete runs by 'oof' and 'test', the runs by their numbers."""
    return {
        kind: compare_scores(
            {
                number: run.best.aligned[kind]
                for number, run in enumerate(runs)
                if kind in run.best.aligned
            }
        )
        for kind in ("oof", "test")
    }


def looked_at_html(runs: Sequence[ReportedRun]) -> Markup:
    """Return maps of the samples that the best run of each set of samples was most wrong about."""
    # Runs are in the order of their scores, the best first.
    chosen: dict[str | None, ReportedRun] = {}
    for run in runs:
        if run.competes and run.worst is not None:
            chosen.setdefault(run.samples, run)
    looked = [map_strain(run.worst) for run in list(chosen.values())[:MOST_RUNS] if run.worst]
    return strain_maps_html(looked)


def content_security_policy(script: str, style: str) -> str:
    def sha(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {sha(script)}; style-src {sha(style)}; img-src data:; "
        f"base-uri 'none'; form-action 'none'"
    )


def script_json(value: Any) -> Markup:
    """Return JSON that can be placed in a script element: no text in it can end the element."""
    # Python writes NaN as a bare word, which the browser's JSON.parse refuses.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)


# --- words above the table -------------------------------------------------------------------


def count_runs(runs: Sequence[ReportedRun]) -> str:
    partial = sum(not run.complete for run in runs)
    text = f"{len(runs)} experiment{'s' if len(runs) != 1 else ''}"
    return text + (f", {partial} of them not complete" if partial else "")


def list_cards(runs: Sequence[ReportedRun], stack: StackSummary) -> list[dict[str, Any]]:
    """Return the best scores, for large figures: `title`, `auc`, `error` and `what` it is of."""
    found = []
    for kind, title in (("oof", "Best out of fold"), ("test", "Best on the test samples")):
        # The score of some folds is one of other samples, that of borrowed weights another run's.
        scored = [
            (getattr(variant, kind), name, run)
            for run in runs
            if run.competes
            for name, variant in run.variants.items()
            if getattr(variant, kind) is not None
        ]
        if scored:
            sample, name, run = max(scored, key=lambda item: item[0].auc)
            views = ", with TTA" if name == "tta" else ""
            found.append((title, sample.auc, sample.error, run.name + views))
    # Without a card if a single run is submitted: no blend was better than the best card above.
    for method in stack.methods:
        if method.name == stack.chosen:
            found.append(("Stack, over the folds", method.mean, method.std, method.name))
    names = ("title", "auc", "error", "what")
    return [dict(zip(names, each, strict=True)) for each in found]


def sets_note(runs: Sequence[ReportedRun]) -> str:
    """Return a warning if the runs were trained on different sets of samples."""
    letters = sorted({run.samples for run in runs if run.samples})
    if len(letters) < 2:
        return ""
    return (
        f"The experiments were trained on {len(letters)} different sets of samples "
        f"({', '.join(letters)}): compare scores within one letter only. The best of each set is "
        f"marked."
    )


def thinning_note(runs: Sequence[ReportedRun]) -> str:
    worst = [
        sample.curve.worst
        for run in runs
        for variant in run.variants.values()
        for sample in (variant.oof, variant.test)
        if sample is not None and sample.curve is not None
    ]
    farthest = max(worst, default=0.0)
    if not farthest:
        return "No curve here needed that: each goes through all of its corners."
    return (
        f"The full curve lies nowhere farther than {farthest:.5f} of the unit square from the line "
        f"drawn."
    )


# --- the table -------------------------------------------------------------------------------


def run_table_html(runs: Sequence[ReportedRun]) -> Markup:
    """Return the table's head and one body per run."""
    layout = table_columns(runs)
    best, starts = find_best_cells(runs, layout), first_of_groups(layout)
    groups = [
        (name, len(list(members)))
        for name, members in itertools.groupby(layout, key=lambda column: column.group)
    ]
    return render(
        "scores_table.html",
        columns=layout,
        groups=groups,
        starts=starts,
        rows=[(run, run_cells(run, layout, starts, best)) for run in runs],
        span=len(layout) + 1,
    )


def first_of_groups(layout: Sequence[TableColumn]) -> set[str]:
    """Return the keys of the first column of every group: a line is drawn before it."""
    return {
        column.key
        for number, column in enumerate(layout)
        if number == 0 or layout[number - 1].group != column.group
    }


def find_best_cells(
    runs: Sequence[ReportedRun], layout: Sequence[TableColumn]
) -> set[tuple[str, str]]:
    """Return (run, column) of the best score among those that compete on each set of samples."""
    best = set()
    for column in layout:
        if column.kind != "score":
            continue
        for letter in {run.samples for run in runs}:
            scored = [
                (column.cell(run).value, run.name)
                for run in runs
                if run.samples == letter and run.competes and column.cell(run).value is not None
            ]
            # a single score is not the best of anything
            if len(scored) > 1:
                best.add((max(scored)[1], column.key))
    return best


def run_cells(
    run: ReportedRun, layout: Sequence[TableColumn], starts: set[str], best: set[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return `content`, `value` and `classes` of each cell of a run."""
    cells = []
    for column in layout:
        cell = column.cell(run)
        classes = [column.kind, *(["start"] if column.key in starts else [])]
        classes += ["best"] if (run.name, column.key) in best else []
        cells.append({"content": cell.content, "value": cell.value, "classes": " ".join(classes)})
    return cells


# --- the data of the charts ------------------------------------------------------------------


def chart_data(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    return {"runs": [run_data(run) for run in runs]}


def run_data(run: ReportedRun) -> dict[str, Any]:
    variants = {}
    for name, variant in run.variants.items():
        variants[name] = {
            "folds": {str(fold): round(auc, 6) for fold, auc in variant.folds.items()},
            "validated": variant.validated,
            "by_quantity": variant.by_quantity,
            **{
                kind: sample.to_plain()
                for kind, sample in (("oof", variant.oof), ("test", variant.test))
                if sample is not None
            },
        }
    return {
        "name": run.name,
        "complete": run.complete,
        "variants": variants,
        "history": history_data(run),
        "by_step": loss_by_step_data(run),
        "metric": metric_name(run),
        "lines": run.lines,
        "settings": flat_settings(run.config),
        "starts": [flat_settings(start) for start in run.starts[-MOST_STARTS:]],
        "earlier_starts": max(0, len(run.starts) - MOST_STARTS),
    }


def history_data(run: ReportedRun) -> dict[str, dict[str, list[float | None]]]:
    """Return the learning curves of each fold by column of history.csv, to five digits.

    Of more than `MOST_EPOCHS` epochs every second, third … is kept, and the last of each fold.
    """
    # Rounded up. It is 0 only without any row, when nothing is divided by it.
    stride = -(-max(run.epochs, default=0) // MOST_EPOCHS)
    last = {curve_name(row): int(row["epoch"]) for row in run.history}
    shown = list(
        # A set in the order of appearance. All rows, as a score may be missing in the first.
        dict.fromkeys(
            key
            for row in run.history
            for key in row
            if key in STEP_CURVES
            or (key.startswith(("train_", "valid_")) and not key.endswith("_seconds"))
        )
    )
    folds: dict[str, dict[str, list[float | None]]] = {}
    for row in sorted(run.history, key=lambda row: (row["fold"], row.get("seed", 0), row["epoch"])):
        name, epoch = curve_name(row), int(row["epoch"])
        # the last epoch stays, whatever the stride: it is the result
        if epoch % stride and epoch != last[name]:
            continue
        fold = folds.setdefault(name, {key: [] for key in ["epoch", *shown]})
        fold["epoch"].append(epoch)
        for key in shown:
            fold[key].append(round_or_none(row.get(key)))
    return folds


def loss_by_step_data(run: ReportedRun) -> dict[str, dict[str, list[float | None]]]:
    """Return the training loss by step of each fold: `epoch`, with its part, and `train_loss`.

    Of more than `MOST_POINTS_BY_STEP` points the means of equally many are kept.
    """
    folds: dict[str, list[Mapping[str, float]]] = {}
    for row in sorted(run.points, key=lambda row: (row["fold"], row.get("seed", 0), row["epoch"])):
        folds.setdefault(curve_name(row), []).append(row)
    found = {}
    for name, rows in folds.items():
        size = -(-len(rows) // MOST_POINTS_BY_STEP)  # rounded up
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        found[name] = {
            "epoch": [round_or_none(group[-1]["epoch"]) for group in groups],
            "train_loss": [round_or_none(mean_loss(group)) for group in groups],
        }
    return found


def mean_loss(rows: Sequence[Mapping[str, float]]) -> float:
    losses = [row.get("train_loss", math.nan) for row in rows]
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else math.nan


def curve_name(row: Mapping[str, float]) -> str:
    """Return what a learning curve is of: the fold, or the seed and the fold."""
    fold = str(int(row["fold"]))
    return f"seed {int(row['seed'])}, fold {fold}" if "seed" in row else fold


def round_or_none(value: float | None) -> float | None:
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def metric_name(run: ReportedRun) -> str:
    metric = run.config.get("eval_metric")
    return str(metric.get("class", "score")) if isinstance(metric, Mapping) else "score"


def flat_settings(value: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as {path: text}, e.g. with the path 'model_params.resize_img'."""
    flat: dict[str, str] = {}

    def visit(item: Any, path: str, depth: int) -> None:
        # A part is shown as one call. At depth 0 is the config itself, which names its class too.
        part = isinstance(item, Mapping) and "class" in item and depth > 0
        if isinstance(item, Mapping) and item and not part and depth < DEEPEST:
            for key, inner in item.items():
                visit(inner, f"{path}.{key}" if path else str(key), depth + 1)
        # Files may hold anything: the page stays small whatever is in them.
        elif len(flat) < MOST_SETTINGS:
            flat[path] = cut_text(setting_text(item))

    if value:
        visit(value, "", 0)
    return flat


def cut_text(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def setting_text(value: Any, depth: int = 0) -> str:
    """Write a setting readably: parts as calls, lists in brackets, text without quotes."""
    # nesting without end would exceed Python's recursion limit
    if depth > DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{k}={setting_text(v, depth + 1)}" for k, v in value.items() if k != "class"
        )
        name = setting_text(value["class"], depth + 1) if "class" in value else None
        return f"{name}({inner})" if name is not None else f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(setting_text(item, depth + 1) for item in value)}]"
    return "none" if value is None else str(value)
