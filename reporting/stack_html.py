"""The report's section on the stack: the table of methods, the weights of the models, the facts."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence

from reporting.cells import DASH, axis_ends, escape, score_html, strip_plot_svg
from reporting.stack import StackedMethod, StackSummary


def stack_section_html(stack: StackSummary) -> str:
    parts = []
    if stack.missing:
        parts.append(f'<p class="empty">{sentence_html(stack.missing)}</p>')
    parts += [
        f'<p class="warning">{sentence_html(text)}</p>' for text in (*stack.notes, *stack.remarks)
    ]
    if stack.methods:
        # The chosen method first: its weights are those of the submission.
        weighted = sorted(
            (method for method in stack.methods if method.weights),
            key=lambda method: method.name != stack.chosen,
        )
        weights = weight_table_html(weighted) if weighted else ""
        table = method_table_html(stack.methods, stack.chosen)
        parts.append(f'<div class="side-by-side">{table}{weights}</div>')
    if stack.facts:
        facts = "".join(
            f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>"
            for key, value in stack.facts.items()
        )
        parts.append(f'<dl class="facts">{facts}</dl>')
    if stack.table:
        parts.append(csv_table_html(stack.table))
    if stack.raw:
        parts.append(
            f"<details><summary>stack.json as it stands</summary><pre>{escape(stack.raw)}</pre>"
            f"</details>"
        )
    return "".join(parts)


def sentence_html(text: str) -> str:
    """Escape a sentence and set the words in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


# --- the methods -----------------------------------------------------------------------------


def method_table_html(methods: Sequence[StackedMethod], chosen: str | None) -> str:
    """Return a row per method: its mean, interval, differences, test score and fold scores."""
    # One axis for all methods, so that their dots can be compared.
    low, high = axis_ends(
        sorted(v for method in methods for v in (*method.folds, *method.interval, method.mean))
    )
    best = max(method.mean for method in methods)
    # a set in the order of appearance, which `set` would not keep
    others = list(dict.fromkeys(other for method in methods for other in method.differences))
    with_test = any(method.test is not None for method in methods)
    rows = []
    for method in methods:
        mark = ' <small class="tag">submitted</small>' if method.name == chosen else ""
        is_best = " best" if method.mean == best else ""
        cells = [
            f'<td class="score{is_best}">{score_html(method.mean, method.std)}</td>',
            f"<td>{method.interval[0]:.4f} to {method.interval[1]:.4f}</td>",
        ]
        cells += [f"<td>{difference_html(method.differences.get(other))}</td>" for other in others]
        if with_test:
            test = DASH if method.test is None else f"<b>{method.test:.4f}</b>"
            cells.append(f'<td class="score">{test}</td>')
        words = ", ".join(f"fold {fold} {value:.4f}" for fold, value in enumerate(method.folds))
        dots = strip_plot_svg(method.folds, method.mean, low, high, words, method.interval)
        cells.append(f"<td>{dots}</td>")
        rows.append(f'<tr><th scope="row">{escape(method.name)}{mark}</th>{"".join(cells)}</tr>')
    heads = ["method", "mean", "interval", *(f"against {other}" for other in others)]
    heads += (["test"] if with_test else []) + ["folds"]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in heads)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="methods-caption">'
        '<table class="plain"><caption id="methods-caption">AUC of each method: mean over the '
        "folds ± standard deviation over them; the interval is 1.96 standard errors of the mean "
        "to either side; differences to others with their 95 % intervals</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def difference_html(difference: tuple[float, float, float] | None) -> str:
    """Write a difference and its interval; a dash for a method compared with itself."""
    if difference is None or not any(difference):
        return DASH
    value, low, high = (typographic_minus(f"{number:+.5f}") for number in difference)
    return f"<b>{value}</b><small>{low} to {high}</small>"


# --- the weights -----------------------------------------------------------------------------


def weight_table_html(methods: Sequence[StackedMethod]) -> str:
    """Return a row per model with its mean weight in each method, as a number and as a bar."""
    means = {
        method.name: {model: statistics.fmean(w) for model, w in method.weights.items()}
        for method in methods
    }
    first = means[methods[0].name]
    models = list(dict.fromkeys(model for weights in means.values() for model in weights))
    # models without a weight in the first method come last
    models.sort(key=lambda model: -first.get(model, -math.inf))
    rows = []
    for model in models:
        cells = "".join(
            f'<td class="score">{weight_cell_html(method, model, means[method.name])}</td>'
            for method in methods
        )
        rows.append(f'<tr><th scope="row">{escape(model)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{escape(method.name)}</th>' for method in methods)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="weights-caption">'
        '<table class="plain"><caption id="weights-caption">Weights of the models: mean over the '
        "folds, and their range</caption>"
        f'<thead><tr><th scope="col">model</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def weight_cell_html(method: StackedMethod, model: str, means: Mapping[str, float]) -> str:
    """Write a mean weight, its range over the folds, and a bar that points left if negative."""
    if model not in means:
        return DASH
    mean, weights = means[model], method.weights[model]
    # all weights may be 0, which must not be divided by
    largest = max(abs(value) for value in means.values()) or 1.0
    # The bar is 60 units wide. Its zero is in the middle if any weight is negative, else left.
    zero = 30 if min(means.values()) < 0 else 1
    # one unit stays free at either end
    length = round(abs(mean) / largest * (29 if zero == 30 else 58), 1)
    left = round(zero - length, 1) if mean < 0 else zero
    ends = f"{min(weights):.3f}", f"{max(weights):.3f}"
    spread = f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else ""
    shown = typographic_minus(f"{mean:.3f}")
    return (
        f'<b>{shown}</b> <svg class="bar" viewBox="0 0 60 12" role="img"><title>'
        f'{escape(model)}, {escape(method.name)}: {shown}</title><path class="rule" '
        f'd="M{zero} 0V12"/><rect class="{"below" if mean < 0 else "above"}" x="{left}" y="2" '
        f'width="{length}" height="8"/></svg><small>{typographic_minus(spread)}</small>'
    )


def typographic_minus(text: str) -> str:
    return text.replace("-", "\u2212")


# --- stack.csv -------------------------------------------------------------------------------


def csv_table_html(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(shorten_number(cell))}</td>' for cell in row)}</tr>"
        for row in rows[1:]
    )
    return (
        '<details><summary>stack.csv</summary><div class="scroll" tabindex="0" role="region" '
        'aria-labelledby="stack-csv"><table class="plain"><caption id="stack-csv">stack.csv'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        "</details>"
    )


def shorten_number(cell: str) -> str:
    """Return a number of sixteen digits with six; other text unchanged, up to 80 characters."""
    try:
        value = float(cell)
    except ValueError:
        return cell[:80]
    return cell if value.is_integer() or len(cell) <= 8 else f"{value:.6g}"
