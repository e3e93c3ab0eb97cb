"""Learning curves: what guessing would score, losses of a diverged run, and fold<k>.png."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs import Demo
from experiments.curve_figure import (
    draw_curves,
    draw_fold,
    draw_gradients,
    draw_loss,
    draw_loss_by_step,
    draw_speed,
    guessing_of,
)

HISTORY = [
    {
        "fold": 0,
        "epoch": epoch,
        "train_loss": 0.6 / epoch,
        "valid_loss": 0.65 / epoch,
        "train_metric": math.nan,
        "valid_metric": 0.6 + 0.1 * epoch,
        "learning_rate": 1e-3 / epoch,
        "gradient_norm": 0.5,
        "clipped_steps": 0.25,
        "samples_per_second": 100.0 * epoch,
    }
    for epoch in (1, 2)
]
POINTS = [
    {"fold": fold, "epoch": part / 2, "step": 10 * part, "train_loss": 0.7 - 0.1 * part}
    for fold in (0, 1)
    for part in (1, 2, 3, 4)
]


@pytest.fixture
def axis() -> Axes:
    return Figure().subplots()


def test_guessing_is_ln_2_and_one_half_of_as_many_signals_as_noise(axis: Axes) -> None:
    guessing = guessing_of(Demo, np.array([[0.0], [1.0]] * 20))
    assert guessing is not None
    assert guessing.score == 0.5
    assert guessing.loss == pytest.approx(math.log(2), abs=1e-6)
    draw_loss(axis, HISTORY, guessing)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "fold 0",
        "guessing: 0.693",
    ]
    assert axis.lines[-1].get_ydata() == pytest.approx([math.log(2)] * 2, abs=1e-6)
    assert axis.get_yscale() == "linear"


def test_of_one_class_or_none_there_is_no_line(axis: Axes) -> None:
    assert guessing_of(Demo, np.zeros((4, 1))) is None
    assert guessing_of(Demo, np.zeros((0, 1))) is None
    draw_curves(axis, HISTORY, "auc", None)
    assert len(axis.lines) == 2  # validation and training


def test_a_diverged_loss_hides_no_other(axis: Axes) -> None:
    diverged = [{**HISTORY[0], "valid_loss": 232.6}, HISTORY[1]]
    draw_loss(axis, diverged, None)
    assert axis.get_yscale() == "log"


def test_gradients_and_clipped_steps_have_an_axis_each(axis: Axes) -> None:
    draw_gradients(axis, HISTORY)
    assert axis.lines[0].get_ydata() == pytest.approx([0.5, 0.5])
    share = next(other for other in axis.figure.axes if other is not axis)
    assert share.lines[0].get_ydata() == pytest.approx([0.25, 0.25])


def test_the_loss_by_step_has_a_curve_for_each_fold(axis: Axes) -> None:
    draw_loss_by_step(axis, POINTS, guessing_of(Demo, np.array([[0.0], [1.0]] * 20)))
    for line in axis.lines[:2]:
        assert line.get_xdata().tolist() == [0.5, 1.0, 1.5, 2.0]
        assert line.get_ydata() == pytest.approx([0.6, 0.5, 0.4, 0.3])
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["fold 0", "fold 1", "guessing: 0.693"]


def test_a_run_of_an_earlier_version_says_that_it_has_no_loss_by_step(axis: Axes) -> None:
    draw_loss_by_step(axis, [])
    assert "earlier version" in axis.texts[0].get_text()
    assert not axis.lines


def test_a_loss_by_step_that_diverged_hides_no_other(axis: Axes) -> None:
    draw_loss_by_step(axis, [*POINTS, {"fold": 0, "epoch": 2.5, "train_loss": 300.0}])
    assert axis.get_yscale() == "log"


def test_the_speed_begins_at_zero(axis: Axes) -> None:
    draw_speed(axis, HISTORY)
    assert axis.lines[0].get_ydata() == pytest.approx([100.0, 200.0])
    assert axis.get_ylim()[0] == 0


@pytest.mark.parametrize(
    "history",
    [HISTORY, [{"fold": 1, "epoch": 1, "valid_loss": math.nan, "gradient_norm": math.nan}]],
    ids=["whole", "nothing finite"],
)
def test_a_fold_is_drawn_without_a_warning(tmp_path: Path, history: list[dict]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of matplotlib 3.9 with a later pyparsing, and not of the figure.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        draw_fold(tmp_path / "fold0.png", "demo, fold 0", history, "auc", None, POINTS, 0.87)
    assert (tmp_path / "fold0.png").stat().st_size > 10_000
