"""Which detectors are drawn, and that what is drawn can be told apart and is named."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks import RESULTS
from benchmarks.detection import plots
from benchmarks.detection.plots import MOST_DRAWN, PREFERRED, choose_detectors, crossing


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads((RESULTS / "detection.json").read_text())


def test_of_many_the_references_and_a_network_of_each_kind_are_drawn(recorded) -> None:
    drawn, left = choose_detectors(recorded)
    by_auc = sorted(PREFERRED, key=lambda name: -recorded["detectors"][name]["auc"])
    assert [name for name, _ in drawn] == by_auc
    assert left == len(recorded["detectors"]) - MOST_DRAWN
    few = {"detectors": dict(list(recorded["detectors"].items())[:3])}
    assert len(choose_detectors(few)[0]) == 3
    assert choose_detectors(few)[1] == 0


def test_where_preferred_ones_are_missing_the_best_of_other_kinds_are_drawn() -> None:
    aucs = {"a, 1": 0.9, "a, 2": 0.8, "demo": 0.5} | {f"b{k}": 0.7 - k / 100 for k in range(8)}
    drawn, left = choose_detectors({"detectors": {n: {"auc": v} for n, v in aucs.items()}})
    assert [name for name, _ in drawn] == ["a, 1", *(f"b{k}" for k in range(5)), "demo"]
    assert left == 4


def test_no_two_curves_look_alike() -> None:
    colours, markers, patterns = zip(*plots.STYLES, strict=True)
    assert len(set(colours)) == len(set(markers)) == MOST_DRAWN
    assert all(one != other for one, other in itertools.pairwise(patterns))


def test_each_curve_is_named_once_at_a_height_of_its_own(recorded) -> None:
    drawn, _ = choose_detectors(recorded)
    axis = Figure().subplots()
    axis.set_xscale("log")
    plots.name_curves(axis, drawn, "0.001")
    assert [text.get_text() for text in axis.texts] == [name for name, _ in drawn]
    for side in (axis.texts[:4], axis.texts[4:]):
        heights = [text.get_position()[1] for text in side]
        assert np.all(np.diff(heights) < -0.1)  # a line of text is 0.04 high


def test_a_name_points_to_where_its_curve_has_that_height() -> None:
    snr, found = np.array([4.0, 8.0, 16.0]), np.array([0.0, 0.5, 1.0])
    assert crossing(snr, found, 0.25) == pytest.approx((np.sqrt(32), 0.25))
    assert crossing(snr, found, 0.0) == (4.0, 0.0)
    assert crossing(snr, found / 2, 0.9) == (16.0, 0.5)


def test_both_figures_are_written(recorded, tmp_path: Path) -> None:
    paths = plots.draw_detection_plots(recorded, tmp_path)
    assert [path.name for path in paths] == ["detection-efficiency.png", "detection-roc.png"]
    assert all(path.stat().st_size > 20_000 for path in paths)
