"""Read what stacking left in the results folder: stack.json and stack.csv.

The format is the one that `stack/report.py` writes. A file in another format is shown as it stands,
with a note that says which key was not understood.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import is_number, read_json_object

ADVICE = "make it with `python stacking.py`"
LONGEST_RAW = 40_000  # characters of stack.json that are shown
MOST_ROWS = 200  # of stack.csv: a row per model and per method


@dataclass(frozen=True)
class StackedMethod:
    """The scores of one stacking method, as stack.json holds them.

    Attributes:
        mean, std: the mean AUC over the folds, and the standard deviation over them.
        error: the bootstrap standard error of the mean.
        folds: (folds,) the AUC on each fold.
        differences: the difference to the best model and to the plain mean, each with the ends of
            its 95 % interval, by the name of what it is compared with.
        weights: the weights of each fold's fit, by model; empty for a method without weights.
        test: the AUC on the test samples; None if their truth is not known.
    """

    name: str
    mean: float
    std: float
    error: float
    folds: tuple[float, ...]
    differences: dict[str, tuple[float, float, float]]
    weights: dict[str, list[float]]
    test: float | None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean, from its standard error."""
        return self.mean - 1.96 * self.error, self.mean + 1.96 * self.error


@dataclass
class StackSummary:
    """What the report shows of the stack.

    Attributes:
        methods: every method that was tried, in the order of stack.json.
        chosen: the name of the method that is submitted; None if a single run is.
        remarks: what the submission and the members mean for the scores, a sentence each.
        facts: further entries of stack.json, by what they are.
        table: the rows of stack.csv, the first of them its header.
        raw: stack.json as text.
        missing: a sentence that says why there is nothing to show; '' if there is.
        notes: what could not be read, a sentence each.
    """

    methods: list[StackedMethod] = field(default_factory=list)
    chosen: str | None = None
    remarks: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    table: list[list[str]] = field(default_factory=list)
    raw: str = ""
    missing: str = ""
    notes: list[str] = field(default_factory=list)


def read_stack(results: Path) -> StackSummary:
    """Read stack.json and stack.csv. Never raises: what cannot be read becomes a note."""
    summary = StackSummary()
    path = results / "stack.json"
    if path.exists():
        try:
            record = read_json_object(path)
            # Before it is understood, so that another format is at least shown as text.
            summary.raw = json.dumps(record, indent=1, ensure_ascii=False)[:LONGEST_RAW]
            summary.methods = read_methods(path, record)
            # Before single runs could be submitted, stack.json named the method alone.
            submitted = record.get("submitted", {"kind": "method", "name": record["method"]})
            if not isinstance(submitted, dict):
                submitted = {}
            kind, name = (
                entry_of(path, submitted, key, str, f"submitted.{key}") for key in ("kind", "name")
            )
            # A single run has its own row in the table of experiments.
            summary.chosen = name if kind == "method" else None
            if kind == "model":
                summary.remarks.append(
                    f"The submission is the single run {name}: no blend was clearly better."
                )
            summary.remarks += list_remarks(record)
            summary.facts = dict(list_facts(record))
        except UserError as error:
            summary.notes.append(str(error))
    else:
        summary.missing = f"There is no {path} yet: {ADVICE}."
    table = results / "stack.csv"
    if table.exists():
        try:
            summary.table = read_score_table(table)
        except UserError as error:
            summary.notes.append(str(error))
    return summary


# --- stack.json ------------------------------------------------------------------------------


def read_methods(path: Path, record: Mapping[str, Any]) -> list[StackedMethod]:
    """Return the methods of stack.json.

    Raises:
        UserError: an entry is missing or of another type; the message names it.
    """
    best_model = entry_of(path, record, "best_model", str)
    entry_of(path, record, "method", str)
    methods = entry_of(path, record, "methods", dict)
    read = []
    for name in methods:
        where = f"methods.{name}"
        method = entry_of(path, methods, name, dict, where)

        def number(key: str, method: Any = method, where: str = where) -> float:
            return float(entry_of(path, method, key, float, f"{where}.{key}"))

        differences = {}
        # stack.json has the differences under fixed keys; shown are the names behind them.
        for key, other in (("vs_best", best_model), ("vs_mean", "mean")):
            comparison = entry_of(path, method, key, dict, f"{where}.{key}")
            difference, low, high = (
                float(entry_of(path, comparison, part, float, f"{where}.{key}.{part}"))
                for part in ("difference", "low", "high")
            )
            differences[other] = (difference, low, high)
        weights = entry_of(path, method, "weights", dict, where) if "weights" in method else {}
        read.append(
            StackedMethod(
                name,
                number("auc"),
                number("std"),
                number("error"),
                tuple(numbers_of(path, method.get("folds"), f"{where}.folds")),
                differences,
                {m: numbers_of(path, w, f"{where}.weights.{m}") for m, w in weights.items()},
                number("test_auc") if "test_auc" in method else None,
            )
        )
    return read


def entry_of(
    path: Path, record: Mapping[str, Any], key: str, kind: type, where: str | None = None
) -> Any:
    """Return an entry of stack.json.

    Args:
        kind: the type it must have; float admits every finite number.
        where: the path of the key for the message; default: the key itself.

    Raises:
        UserError: it is missing or of another type.
    """
    value = record.get(key)
    # 1.0 may have been written as 1, so that every number counts as a float
    if is_number(value) if kind is float else isinstance(value, kind):
        return value
    expected = {dict: "an object", str: "a text", float: "a number"}[kind]
    raise UserError(
        f"{path} has no {where or key} that is {expected}, so it is shown as it stands: {ADVICE}"
    )


def numbers_of(path: Path, values: Any, where: str) -> list[float]:
    """Return a list of finite numbers.

    Raises:
        UserError: it is anything else, or empty.
    """
    if isinstance(values, list) and values and all(map(is_number, values)):
        return [float(value) for value in values]
    raise UserError(
        f"{path} has no {where} that is a list of numbers, so it is shown as it stands: {ADVICE}"
    )


def list_remarks(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was recorded of members that were left out, unfinished or pseudo-labelled."""
    models = record.get("models")
    for name, model in models.items() if isinstance(models, dict) else ():
        model = model if isinstance(model, dict) else {}
        if unfinished := model.get("unfinished_folds"):
            yield f"{name} was stacked although fold {', '.join(unfinished)} was not finished."
        if source := model.get("test_labelled_by"):
            yield (
                f"{name} was trained on the test samples with labels of {source}: held-out scores "
                f"need not hold on the test set."
            )
    left_out = record.get("left_out")
    for name, reason in left_out.items() if isinstance(left_out, dict) else ():
        yield f"{name} was left out: {reason}"


def list_facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the other entries of stack.json that fit in a line, with their keys."""
    for key, value in record.items():
        # These are long, or the page has them in another place.
        if key in ("command", "versions", "method", "left_out"):
            continue
        if isinstance(value, Mapping) and key in ("choice", "skipped"):
            for inner, text in list_facts(value):
                yield f"{key}: {inner}", text
        elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            yield key, ", ".join(value)
        elif isinstance(value, list) and value and all(map(is_number, value)):
            yield f"{key}, mean", f"{statistics.fmean(value):.6g}"
        elif isinstance(value, str | int | float) and value != "":
            yield key, f"{value:.6g}" if isinstance(value, float) else str(value)


# --- stack.csv -------------------------------------------------------------------------------


def read_score_table(path: Path) -> list[list[str]]:
    """Return the rows of stack.csv, the header first.

    Raises:
        UserError: it cannot be read, or is no table of scores.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            # A foreign file may be large: no more is read than is shown.
            rows: Sequence[list[str]] = [
                row for row, _ in zip(csv.reader(file), range(MOST_ROWS), strict=False)
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV ({error}): {ADVICE}") from error
    if not rows or rows[0][:2] != ["kind", "name"]:
        raise UserError(f"{path} is no table of stacking scores (kind, name, ...): {ADVICE}")
    return list(rows)
