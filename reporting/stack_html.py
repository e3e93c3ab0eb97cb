"""The report's section on the stack: a table of methods, the weights of the models, the rest."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence

from reporting.cells import DASH, axis, escape, score, strip
from reporting.stack import Method, Stack


def stack_section(stack: Stack) -> str:
    parts = []
    if stack.missing:
        parts.append(f'<p class="empty">{sentence(stack.missing)}</p>')
    parts += [f'<p class="warning">{sentence(note)}</p>' for note in stack.notes]
    if stack.methods:
        weighted = [method for method in ordered(stack) if method.weights]
        weights = weights_table(weighted) if weighted else ""
        table = methods_table(stack.methods, stack.chosen)
        parts.append(f'<div class="side-by-side">{table}{weights}</div>')
    if stack.facts:
        facts = "".join(
            f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>"
            for key, value in stack.facts.items()
        )
        parts.append(f'<dl class="facts">{facts}</dl>')
    if stack.table:
        parts.append(plain_table(stack.table, stack.rows))
    elif stack.rows:
        parts.append(f"<p>stack.csv holds the stack's answers for {stack.rows:,} samples.</p>")
    if stack.raw:
        parts.append(
            f"<details><summary>stack.json as it stands</summary><pre>{escape(stack.raw)}</pre>"
            f"</details>"
        )
    return "".join(parts)


def sentence(text: str) -> str:
    """Escape a sentence and set what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def ordered(stack: Stack) -> list[Method]:
    """The chosen method first, its weights being those that count."""
    return sorted(stack.methods, key=lambda method: method.name != stack.chosen)


def methods_table(methods: Sequence[Method], chosen: str | None) -> str:
    values = [
        value
        for method in methods
        for value in (*method.folds, *own_interval(method), method.mean)
        if value is not None
    ]
    low, high = axis(sorted(values))
    best = max((m.mean for m in methods if m.mean is not None), default=None)
    others = list(dict.fromkeys(other for method in methods for other in method.against))
    with_test = any(method.test is not None for method in methods)
    rows = []
    for method in methods:
        mark = ' <small class="tag">chosen</small>' if method.name == chosen else ""
        mean = DASH if method.mean is None else score(method.mean, method.std)
        is_best = " best" if method.mean is not None and method.mean == best else ""
        cells = [f'<td class="score{is_best}">{mean}</td>', f"<td>{interval_text(method)}</td>"]
        cells += [f"<td>{against_text(method.against.get(other))}</td>" for other in others]
        cells += [f'<td class="score">{number(method.test)}</td>'] if with_test else []
        cells.append(f"<td>{plot(method, low, high)}</td>")
        rows.append(f'<tr><th scope="row">{escape(method.name)}{mark}</th>{"".join(cells)}</tr>')
    heads = ["method", "mean", "interval", *(f"against {other}" for other in others)]
    heads += (["test"] if with_test else []) + ["folds"]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in heads)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="methods-caption">'
        '<table class="plain"><caption id="methods-caption">AUC of each method: mean over the '
        "folds ± standard deviation over them, 1.96 standard errors of it either side unless "
        "stack.json gives another interval; differences to others with their intervals</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def number(value: float | None) -> str:
    return DASH if value is None else f"<b>{value:.4f}</b>"


def own_interval(method: Method) -> tuple[float, ...]:
    """The interval of the mean; of a standard error the 95 % around it; else nothing."""
    if method.interval is not None:
        return method.interval
    if method.error is None or method.mean is None:
        return ()
    return method.mean - 1.96 * method.error, method.mean + 1.96 * method.error


def interval_text(method: Method) -> str:
    interval = own_interval(method)
    if not interval:
        return DASH
    return f"{interval[0]:.4f} to {interval[1]:.4f}"


def against_text(against: tuple[float, float, float] | None) -> str:
    """Write a difference and its interval; nothing where a method meets itself."""
    if against is None or not any(against):
        return DASH
    difference, low, high = (minus(f"{value:+.5f}") for value in against)
    return f"<b>{difference}</b><small>{low} to {high}</small>"


def plot(method: Method, low: float, high: float) -> str:
    if method.mean is None and not method.folds:
        return DASH
    words = ", ".join(f"fold {fold} {value:.4f}" for fold, value in enumerate(method.folds))
    return strip(
        method.folds,
        method.mean,
        low,
        high,
        words or f"mean {method.mean:.4f}",
        own_interval(method) or None,
    )


def weights_table(methods: Sequence[Method]) -> str:
    """Return the models' weights by method, a bar each, to the left where negative."""
    means = {
        method.name: {model: statistics.fmean(w) for model, w in method.weights.items()}
        for method in methods
    }
    first = means[methods[0].name]
    models = list(dict.fromkeys(model for weights in means.values() for model in weights))
    models.sort(key=lambda model: -first.get(model, -math.inf))
    rows = []
    for model in models:
        cells = "".join(
            f'<td class="score">{weight_cell(method, model, means[method.name])}</td>'
            for method in methods
        )
        rows.append(f'<tr><th scope="row">{escape(model)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{escape(method.name)}</th>' for method in methods)
    many = any(len(weights) > 1 for method in methods for weights in method.weights.values())
    how = ": mean over the folds, and their range" if many else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="weights-caption">'
        f'<table class="plain"><caption id="weights-caption">Weights of the models{how}</caption>'
        f'<thead><tr><th scope="col">model</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def weight_cell(method: Method, model: str, means: Mapping[str, float]) -> str:
    if model not in means:
        return DASH
    mean, weights = means[model], method.weights[model]
    largest = max(abs(value) for value in means.values()) or 1.0
    zero = 30 if min(means.values()) < 0 else 1
    length = round(abs(mean) / largest * (29 if zero == 30 else 58), 1)
    left = round(zero - length, 1) if mean < 0 else zero
    ends = f"{min(weights):.3f}", f"{max(weights):.3f}"
    spread = f"{ends[0]} to {ends[1]}" if ends[0] != ends[1] else ""
    shown = minus(f"{mean:.3f}")
    return (
        f'<b>{shown}</b> <svg class="bar" viewBox="0 0 60 12" role="img"><title>'
        f'{escape(model)}, {escape(method.name)}: {shown}</title><path class="rule" '
        f'd="M{zero} 0V12"/><rect class="{"below" if mean < 0 else "above"}" x="{left}" y="2" '
        f'width="{length}" height="8"/></svg><small>{minus(spread)}</small>'
    )


def minus(text: str) -> str:
    return text.replace("-", "\u2212")


def plain_table(rows: Sequence[Sequence[str]], total: int) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(shorter(cell))}</td>' for cell in row)}</tr>"
        for row in rows[1:]
    )
    left = total - (len(rows) - 1)
    more = f", and {left:,} rows more in the file" if left > 0 else ""
    return (
        '<details><summary>stack.csv</summary><div class="scroll" tabindex="0" role="region" '
        'aria-labelledby="stack-csv"><table class="plain"><caption id="stack-csv">stack.csv'
        f"{more}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        "</details>"
    )


def shorter(cell: str) -> str:
    """Write a number of sixteen digits with six."""
    try:
        value = float(cell)
    except ValueError:
        return cell[:80]
    return cell if value.is_integer() or len(cell) <= 8 else f"{value:.6g}"
