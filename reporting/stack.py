"""Read what stacking left in the results folder: methods, their scores, the models' weights.

`stack.json` may have been written by another version, or by hand. What is understood is shown as
a table; the rest is shown as it stands, and what is damaged is said in a sentence.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporting.files import is_number, read_object
from runtime.errors import UserError

HOW = "make it with `python stacking.py`"
MOST_ROWS, MOST_COLUMNS = 60, 12  # of a CSV: a submission of 226,000 rows is not for reading
# The first name that is there counts.
MEAN = ("mean", "cv_mean", "mean_auc", "auc", "oof_auc", "score")
STD = ("std", "cv_std", "sd", "deviation")
ERROR = ("error", "auc_error", "standard_error", "se")
LOW, HIGH = ("low", "lower", "ci_low"), ("high", "upper", "ci_high")
INTERVAL = ("interval", "ci", "confidence_interval", "ci95", "interval95")


@dataclass(frozen=True)
class Method:
    """One way of stacking.

    Attributes:
        mean, std, error: AUC over the folds, its standard deviation over them, standard error.
        interval: of the mean.
        against: differences to others, with their intervals, by the name of the other.
        folds: the AUC on each fold.
        weights: by model, of each fold or one for all.
    """

    name: str
    mean: float | None = None
    std: float | None = None
    error: float | None = None
    interval: tuple[float, float] | None = None
    against: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    folds: tuple[float, ...] = ()
    weights: dict[str, list[float]] = field(default_factory=dict)
    test: float | None = None


@dataclass
class Stack:
    """What there is to show of the stack; `missing` says in a sentence why there is nothing."""

    methods: list[Method] = field(default_factory=list)
    chosen: str | None = None
    facts: dict[str, str] = field(default_factory=dict)
    table: list[list[str]] = field(default_factory=list)
    rows: int = 0
    raw: str = ""
    missing: str = ""
    notes: list[str] = field(default_factory=list)


def read_stack(results: Path) -> Stack:
    """Read stack.json and stack.csv; never fails, but says what is missing."""
    stack = Stack()
    path = results / "stack.json"
    if path.exists():
        try:
            content = read_object(path)
        except UserError as error:
            stack.notes.append(str(error))
        else:
            interpret(stack, content)
            if not stack.methods:
                stack.notes.append(f"{path} names no methods with scores; it is shown as it stands")
    else:
        stack.missing = f"There is no {path} yet: {HOW}."
    table = results / "stack.csv"
    if table.exists():
        try:
            stack.table, stack.rows = read_small(table)
        except UserError as error:
            stack.notes.append(str(error))
    return stack


def interpret(stack: Stack, content: dict[str, Any]) -> None:
    models = first_list(content, ("models", "names", "columns", "experiments"))
    shared = content.get("weights")
    best = content.get("best_model")
    others = {"vs_best": best} if isinstance(best, str) else {}
    for name, record in records(content):
        weights = record.get("weights")
        if weights is None and isinstance(shared, Mapping):
            weights = shared.get(name)
        own = first_list(record, ("models", "names", "columns")) or models
        stack.methods.append(method(name, record, dict(weights_of(weights, own)), others))
    chosen = content.get("chosen", content.get("method", content.get("choice")))
    if isinstance(chosen, Mapping):
        chosen = chosen.get("method", chosen.get("name"))
    stack.chosen = chosen if isinstance(chosen, str) else None
    stack.facts = dict(facts(content))
    stack.raw = json.dumps(content, indent=1, ensure_ascii=False)[:40_000]


def facts(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what else stack.json says in a word: texts, numbers, lists of them, why and how."""
    for key, value in content.items():
        if key in ("command", "versions", "method", "chosen"):
            continue
        if isinstance(value, Mapping) and key in ("choice", "skipped"):
            for inner, said in facts(value):
                yield f"{key}: {inner}", said
        elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            yield key, ", ".join(value)
        elif isinstance(value, list) and value and all(map(is_number, value)):
            yield f"{key}, mean", f"{statistics.fmean(value):.6g}"
        elif isinstance(value, str | int | float) and value != "":
            yield key, f"{value:.6g}" if isinstance(value, float) else str(value)


def records(content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each method's name and what is said of it, from a list or an object."""
    for key in ("methods", "results", "scores", "stacks", "blends"):
        value = content.get(key)
        if isinstance(value, Mapping):
            pairs = [(str(name), record) for name, record in value.items()]
        elif isinstance(value, list):
            pairs = [
                (str(record.get("name", record.get("method", f"method {number}"))), record)
                for number, record in enumerate(value, 1)
                if isinstance(record, Mapping)
            ]
        else:
            continue
        pairs = [
            (name, {"mean": record} if is_number(record) else record) for name, record in pairs
        ]
        found = [(name, flatten(record)) for name, record in pairs if isinstance(record, Mapping)]
        found = [pair for pair in found if first(pair[1], MEAN) is not None or "weights" in pair[1]]
        if found:
            yield from found
            return


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the score out of an object of its own, where it is in one."""
    flat = dict(record)
    for key in ("score", "cv", "oof"):
        inner = record.get(key)
        if isinstance(inner, Mapping):
            flat = {**inner, **{name: value for name, value in flat.items() if name != key}}
    return flat


def method(
    name: str, record: dict[str, Any], weights: dict[str, list[float]], others: Mapping[str, str]
) -> Method:
    """Read one method; `others` names the other of a comparison, e.g. {'vs_best': 'nspec_16'}."""
    folds = record.get("folds", record.get("fold_scores"))
    if isinstance(folds, Mapping):
        folds = list(folds.values())
    folds = tuple(map(float, filter(is_number, folds))) if isinstance(folds, list) else ()
    mean, std = first(record, MEAN), first(record, STD)
    if mean is None and folds:
        mean = statistics.fmean(folds)
    if std is None and len(folds) > 1:
        std = statistics.stdev(folds)
    test = record.get("test")
    test = first(test, MEAN) if isinstance(test, Mapping) else first(record, ("test_auc", "test"))
    against = {}
    for key, value in record.items():
        if isinstance(value, Mapping) and is_number(value.get("difference")):
            low, high = first(value, LOW), first(value, HIGH)
            if low is not None and high is not None:
                other = others.get(key, key.removeprefix("vs_").replace("_", " "))
                against[other] = (float(value["difference"]), low, high)
    return Method(
        name, mean, std, first(record, ERROR), interval_of(record), against, folds, weights, test
    )


def interval_of(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the interval of a method's own mean."""
    for key in INTERVAL:
        value = record.get(key)
        if isinstance(value, Mapping):
            value = [first(value, LOW), first(value, HIGH)]
        if isinstance(value, list) and len(value) == 2 and all(map(is_number, value)):
            return float(value[0]), float(value[1])
    low, high = first(record, LOW), first(record, HIGH)
    return None if low is None or high is None else (low, high)


def weights_of(value: Any, models: list[str]) -> Iterator[tuple[str, list[float]]]:
    """Yield each model's weights, from an object or a list, of one fit or one for each fold."""
    if isinstance(value, list) and value and all(isinstance(v, Mapping | list) for v in value):
        by_model: dict[str, list[float]] = {}
        for of_fold in value:
            for model, weights in weights_of(of_fold, models):
                by_model.setdefault(model, []).extend(weights)
        yield from by_model.items()
        return
    if isinstance(value, list) and len(value) == len(models):
        value = dict(zip(models, value, strict=True))
    if isinstance(value, Mapping):
        for model, weight in value.items():
            weights = weight if isinstance(weight, list) else [weight]
            if weights and all(map(is_number, weights)):
                yield str(model), [float(w) for w in weights]


def read_small(path: Path) -> tuple[list[list[str]], int]:
    """Return the first rows of a CSV and how many it has; a submission's rows are not shown.

    Raises:
        UserError: it cannot be read.
    """
    shown: list[list[str]] = []
    rows = -1
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for rows, cells in enumerate(csv.reader(file)):
                if rows <= MOST_ROWS:
                    shown.append(cells[:MOST_COLUMNS])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV ({error}): {HOW}") from error
    if shown and shown[0][:2] == ["id", "target"]:
        shown = []
    return shown, max(rows, 0)


def first(record: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    for name in names:
        if is_number(record.get(name)):
            return float(record[name])
    return None


def first_list(record: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return the first list of names; a list of objects counts by their 'name'."""
    for name in names:
        value = record.get(name)
        if isinstance(value, list) and value:
            named = [v.get("name") if isinstance(v, Mapping) else v for v in value]
            if all(isinstance(v, str) for v in named):
                return named
    return []
