"""The tables of scores by covariate, whatever a summary.json holds."""

from __future__ import annotations

from reporting.breakdown_html import breakdown_html
from reporting.data import ReportedRun


def row(label: str, auc: object = 0.8) -> dict:
    return {"label": label, "n": 20, "signals": 9, "auc": auc, "auc_error": 0.05}


def test_a_table_for_each_covariate() -> None:
    one = ReportedRun("one", breakdown={"month": [row("4"), row("5", None)]})
    two = ReportedRun("two", breakdown={"month": [row("5"), row("6")], "<b>": [row("x")]})
    page = breakdown_html([one, two, ReportedRun("three")])
    assert page.count("<table>") == 2
    first = page.split("</table>")[0]
    assert [first.index(f">{label}</th>") for label in "456"] == sorted(
        first.index(f">{label}</th>") for label in "456"
    )
    assert first.count("9 of 20 signals") == 3
    assert "Score by &lt;b&gt;" in page
    assert breakdown_html([ReportedRun("three")]) == ""


def test_values_that_are_no_scores_are_dashes() -> None:
    run = ReportedRun("odd", breakdown={"month": [{}, row("4", "high"), row("5", float("nan"))]})
    assert "signals</small>" not in breakdown_html([run])
