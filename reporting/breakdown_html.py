"""The report's tables of scores by covariate: one for each column that runs were broken down by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reporting.cells import DASH, escape, score_html
from reporting.data import ReportedRun
from reporting.files import is_number

MOST_COLUMNS = 40  # of a table


def breakdown_html(runs: Sequence[ReportedRun]) -> str:
    """Return a table for each covariate, a row a run and a column a value; '' without any."""
    columns = dict.fromkeys(column for run in runs for column in run.breakdown)
    return "".join(covariate_table_html(column, runs) for column in columns)


def covariate_table_html(column: str, runs: Sequence[ReportedRun]) -> str:
    """Return the table of one covariate.

    Values are in the order of the first run that has them; the bins of other samples follow.
    """
    shown = [run for run in runs if column in run.breakdown]
    cells = {run.name: {label_of(row): row for row in run.breakdown[column]} for run in shown}
    labels = list(dict.fromkeys(label for rows in cells.values() for label in rows))[:MOST_COLUMNS]
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    body = "".join(
        f'<tr><th scope="row">{escape(run.name)}</th>'
        + "".join(f"<td>{score_cell(cells[run.name].get(label))}</td>" for label in labels)
        + "</tr>"
        for run in shown
    )
    return (
        f'<div class="scroll" tabindex="0"><table><caption>Score by {escape(column)}: AUC out of '
        f"fold, ± standard error. Where noise has no value, signals are compared with all of it."
        f'</caption><thead><tr><th scope="col">experiment</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def label_of(row: Mapping[str, Any]) -> str:
    return str(row.get("label", ""))


def score_cell(row: Mapping[str, Any] | None) -> str:
    """Return the score of one value, with the number of samples; a dash where there is none."""
    if row is None or not is_number(row.get("auc")):
        return DASH
    error = row.get("auc_error")
    count = f"<small>{escape(row.get('signals'))} of {escape(row.get('n'))} signals</small>"
    return score_html(row["auc"], error if is_number(error) else None) + count
