"""Cells of the report's table: escaped, sorted by value, a dash where nothing is known."""

from __future__ import annotations

import re

import pytest

from reporting.cells import DASH, axis_ends, score_html, strip_plot_svg, text_cell


def test_names_stay_text() -> None:
    cell = text_cell(lambda run: "<script>")(None)
    assert cell.content == "<span>&lt;script&gt;</span>"
    assert cell.value == "<script>"  # sorted by what was meant
    assert text_cell(lambda run: None)(None).content == DASH


def test_a_score_shows_its_error_and_its_mark() -> None:
    assert score_html(0.87654) == "<b>0.8765</b>"
    html = score_html(0.9, 0.00126, "TTA", 'views "only"')
    assert "± 0.0013" in html
    assert 'title="views &#34;only&#34;">TTA<' in html


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [
        ([], 0.0, 1.0),
        ([0.9], 0.89, 0.91),
        ([0.86, 0.87, 0.88], 0.86, 0.88),
        # One failed fold does not squeeze the others: 4 x 0.005 below the best is the end.
        ([0.5, 0.878, 0.879, 0.88], 0.86, 0.88),
    ],
)
def test_the_axis_holds_all_scores_but_the_far_ones(
    scores: list[float], low: float, high: float
) -> None:
    assert axis_ends(scores) == pytest.approx((low, high))


def test_dots_lie_where_their_scores_are() -> None:
    svg = strip_plot_svg([0.0, 0.5, 1.0, -9.0], 0.5, 0.0, 1.0, "fold <0>", (0.25, 0.75))
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert places == [6.0, 55.0, 104.0, 6.0]  # below the axis: at its left end
    assert "<title>fold &lt;0&gt;</title>" in svg
    assert 'class="mean" d="M55.0 3V15"' in svg
    assert 'class="span" d="M30.5 9H79.5"' in svg
