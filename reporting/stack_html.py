"""The report's section on the stack: the table of methods, the weights of the models, the facts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reporting.cells import axis_ends, strip_plot_svg
from reporting.stack import StackedMethod, StackSummary
from reporting.templates import macro, minus, render


def stack_section_html(stack: StackSummary) -> Markup:
    # The chosen method first: its weights are those of the submission.
    weighted = sorted(
        (method for method in stack.methods if method.weights),
        key=lambda method: method.name != stack.chosen,
    )
    # a set in the order of appearance, which `set` would not keep
    others = list(dict.fromkeys(other for method in stack.methods for other in method.differences))
    with_test = any(method.test is not None for method in stack.methods)
    heads = ["method", "mean", "interval", *(f"against {other}" for other in others)]
    return render(
        "stack.html",
        stack=stack,
        heads=[*heads, *(["test"] if with_test else []), "folds"],
        methods=method_rows(stack.methods, stack.chosen, others),
        with_test=with_test,
        weights=weight_table(weighted) if weighted else None,
    )


# --- the methods -----------------------------------------------------------------------------


def method_rows(
    methods: Sequence[StackedMethod], chosen: str | None, others: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row per method: its mean, interval, differences, test score and fold scores."""
    if not methods:
        return []
    # One axis for all methods, so that their dots can be compared.
    low, high = axis_ends(
        sorted(v for method in methods for v in (*method.folds, *method.interval, method.mean))
    )
    best = max(method.mean for method in methods)
    rows = []
    for method in methods:
        words = ", ".join(f"fold {fold} {value:.4f}" for fold, value in enumerate(method.folds))
        differences = [method.differences.get(other) for other in others]
        rows.append(
            {
                "name": method.name,
                "is_submitted": method.name == chosen,
                "is_best": method.mean == best,
                "mean": method.mean,
                "std": method.std,
                "low": method.interval[0],
                "high": method.interval[1],
                # none of a method compared with itself
                "differences": [each if each and any(each) else None for each in differences],
                "test": method.test,
                "dots": strip_plot_svg(
                    method.folds, method.mean, low, high, words, method.interval
                ),
            }
        )
    return rows


# --- the weights -----------------------------------------------------------------------------


def weight_table(methods: Sequence[StackedMethod]) -> dict[str, Any]:
    """Return a row per model with its mean weight in each method, as a number and as a bar."""
    means = {
        method.name: {model: statistics.fmean(w) for model, w in method.weights.items()}
        for method in methods
    }
    first = means[methods[0].name]
    models = list(dict.fromkeys(model for weights in means.values() for model in weights))
    # models without a weight in the first method come last
    models.sort(key=lambda model: -first.get(model, -math.inf))
    return {
        "names": [method.name for method in methods],
        "rows": [
            (model, [weight_cell(method, model, means[method.name]) for method in methods])
            for model in models
        ],
    }


def weight_cell(
    method: StackedMethod, model: str, means: Mapping[str, float]
) -> dict[str, Any] | None:
    """Return a mean weight, its range over the folds, and a bar that points left if negative."""
    if model not in means:
        return None
    mean, weights = means[model], method.weights[model]
    # all weights may be 0, which must not be divided by
    largest = max(abs(value) for value in means.values()) or 1.0
    # The bar is 60 units wide. Its zero is in the middle if any weight is negative, else left.
    zero = 30 if min(means.values()) < 0 else 1
    # one unit stays free at either end
    length = round(abs(mean) / largest * (29 if zero == 30 else 58), 1)
    left = round(zero - length, 1) if mean < 0 else zero
    ends = f"{min(weights):.3f}", f"{max(weights):.3f}"
    shown = minus(f"{mean:.3f}")
    return {
        "shown": shown,
        "spread": minus(f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else ""),
        "bar": macro("bar", f"{model}, {method.name}: {shown}", zero, left, length, mean < 0),
    }
