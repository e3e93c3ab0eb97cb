"""The report's section on the stack: a table of methods, the weights of the models, the rest."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence

from report_cells import DASH, axis, escape, score, strip
from report_stack import Method, Stack


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
        for value in (*method.folds, *(interval_of_mean(method) or ()), method.mean)
        if value is not None
    ]
    low, high = axis(sorted(values))
    best = max((m.mean for m in methods if m.mean is not None), default=None)
    with_test = any(method.test is not None for method in methods)
    rows = []
    for method in methods:
        mark = ' <small class="tag">chosen</small>' if method.name == chosen else ""
        mean = DASH if method.mean is None else score(method.mean, method.std)
        is_best = " best" if method.mean is not None and method.mean == best else ""
        test = "" if not with_test else f'<td class="score">{number(method.test)}</td>'
        rows.append(
            f'<tr><th scope="row">{escape(method.name)}{mark}</th>'
            f'<td class="score{is_best}">{mean}</td><td>{interval_text(method)}</td>{test}'
            f"<td>{plot(method, low, high)}</td></tr>"
        )
    test_head = '<th scope="col">test AUC</th>' if with_test else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="methods-caption">'
        '<table class="plain"><caption id="methods-caption">Methods of stacking, AUC: mean over '
        "the folds ± standard deviation over them</caption>"
        '<thead><tr><th scope="col">method</th><th scope="col">mean</th>'
        f'<th scope="col">interval</th>{test_head}<th scope="col">folds and interval</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def number(value: float | None) -> str:
    return DASH if value is None else f"<b>{value:.4f}</b>"


def interval_of_mean(method: Method) -> tuple[float, float] | None:
    return method.interval if not method.about else None


def interval_text(method: Method) -> str:
    if method.interval is None:
        return DASH if method.error is None else f"<small>± {method.error:.4f} (s.e.)</small>"
    signed = "+" if method.about else ""
    low, high = (minus(f"{value:{signed}.4f}") for value in method.interval)
    about = f"<small>{escape(method.about)}</small>" if method.about else ""
    return f"{low} to {high}{about}"


def plot(method: Method, low: float, high: float) -> str:
    if method.mean is None and not method.folds:
        return DASH
    words = ", ".join(f"fold {fold} {value:.4f}" for fold, value in enumerate(method.folds))
    return strip(
        method.folds, method.mean, low, high, words or f"mean {method.mean:.4f}",
        interval_of_mean(method),
    )  # fmt: skip


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
            f"<td>{weight_cell(method, model, means[method.name])}</td>" for method in methods
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
    spread = f"{min(weights):.3f} to {max(weights):.3f}" if len(weights) > 1 else ""
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
