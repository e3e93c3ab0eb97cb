"""The report's tables of scores by covariate: one for each column that runs were broken down by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reporting.reported_run import ReportedRun
from reporting.templates import render
from runtime.files import is_number

MOST_COLUMNS = 40  # of a table


def breakdown_html(runs: Sequence[ReportedRun]) -> Markup:
    """Return a table for each covariate, a row a run and a column a value; '' without any."""
    columns = dict.fromkeys(column for run in runs for column in run.breakdown)
    return render("breakdown.html", tables=[covariate_table(column, runs) for column in columns])


def covariate_table(column: str, runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """Return what the table of one covariate shows.

    Values are in the order of the first run that has them; the bins of other samples follow.
    """
    shown = [run for run in runs if column in run.breakdown]
    cells = {run.name: {label_of(row): row for row in run.breakdown[column]} for run in shown}
    labels = list(dict.fromkeys(label for rows in cells.values() for label in rows))[:MOST_COLUMNS]
    rows = [
        (run.name, [score_cell(cells[run.name].get(label)) for label in labels]) for run in shown
    ]
    return {"column": column, "labels": labels, "rows": rows}


def label_of(row: Mapping[str, Any]) -> str:
    return str(row.get("label", ""))


def score_cell(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the score of one value, with the number of samples; None where there is none."""
    if row is None or not is_number(row.get("auc")):
        return None
    error = row.get("auc_error")
    error = error if is_number(error) else None
    return {"auc": row["auc"], "error": error, "signals": row.get("signals"), "n": row.get("n")}
