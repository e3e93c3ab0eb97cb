"""Scores of several outputs and of numbers, from arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.special import expit, softmax

import configs  # noqa: F401 - registers the experiments
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.outputs_summary import (
    draw_outputs,
    mean_outputs,
    score_outputs,
    score_side_targets,
    score_test_outputs,
    table_of_outputs,
)
from experiments.targets import outputs_of

TARGETS = {
    "classes": ("targets=ClassTarget", "targets.names=[a,b,c]", "eval_metric=Accuracy"),
    "labels": ("targets=LabelTarget", "targets.names=[a,b,c]", "eval_metric=MeanAUC"),
    "numbers": (
        "targets=RegressionTarget",
        "targets.names=[a,b,c]",
        "targets.center=[1,2,3]",
        "targets.scale=[3,2,1]",
        "eval_metric=MeanAbsoluteError",
    ),
}


def demo(kind: str):
    return override(load_config("Demo"), TARGETS[kind])


@pytest.mark.parametrize("kind", TARGETS)
def test_the_mean_over_folds_is_that_of_the_values(kind: str) -> None:
    """And its form of outputs has these values again."""
    logits = np.random.default_rng(3).normal(0, 2, (2, 7, 3))
    outputs = outputs_of(demo(kind))
    values = {
        "classes": lambda x: softmax(x, -1),
        "labels": expit,
        "numbers": lambda x: x * (3, 2, 1) + (1, 2, 3),
    }[kind]
    expected = values(logits).mean(0)
    np.testing.assert_allclose(values(mean_outputs(outputs, logits)), expected, rtol=1e-9)
    table = table_of_outputs(outputs, np.array([f"s{k}" for k in range(7)]), logits)
    assert list(table) == ["id", "a", "b", "c"]
    np.testing.assert_allclose(table[["a", "b", "c"]], expected, rtol=1e-9)


def test_scores_of_all_rows_and_of_each_fold() -> None:
    config, rng = demo("classes"), np.random.default_rng(4)
    true, found = np.eye(3)[np.arange(30) % 3], rng.normal(size=(30, 3))
    folds = np.arange(30) // 15
    result = score_outputs(config, true, found, folds)
    right = true.argmax(1) == found.argmax(1)
    assert result["metric"] == "accuracy"
    assert result["oof_score"] == right.mean()
    assert result["fold_scores"] == {"0": right[:15].mean(), "1": right[15:].mean()}


def test_what_is_undefined_has_no_score() -> None:
    result = score_outputs(demo("labels"), np.ones((4, 3)), np.zeros((4, 3)), np.zeros(4, int))
    assert result == {"metric": "mean_auc", "fold_scores": {}}
    nothing = np.empty((0, 3))
    result = score_outputs(demo("classes"), nothing, nothing, np.empty(0, int))
    assert "oof_score" not in result


def test_a_truth_that_does_not_fit_costs_the_test_score_only(tmp_path: Path) -> None:
    config, path = demo("numbers"), tmp_path / "test_labels.csv"
    test, found = pd.DataFrame({"id": ["x", "y"]}), np.zeros((2, 3))
    assert score_test_outputs(config, path, test, found) == {}
    path.write_text("id,a,b,c\ny,2,2,2\nx,1,2,3\n")
    score = score_test_outputs(config, path, test, found)["test_score"]
    assert score == pytest.approx(2 / 6)  # |1 - 2| and |3 - 2| of six numbers
    for text in ("id,a,b\nx,1,2\ny,1,2\n", "id,a,b,c\nx,1,2,3\n", "id,a,b,c\nx,1,2,?\ny,1,2,3\n"):
        path.write_text(text)
        assert score_test_outputs(config, path, test, found) == {}


def test_side_targets_of_which_nothing_is_known_have_no_score() -> None:
    config = override(load_config("Demo"), ["side_targets=[merger_time,network_snr]"])
    outputs = outputs_of(config)
    true = np.array([[1, 1.0, np.nan], [0, np.nan, np.nan]])
    found = score_side_targets(outputs, true, np.zeros((2, 3)))
    assert found == {"merger_time": {"median_error": pytest.approx(0.075), "samples": 1}}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_has_panels(kind: str) -> None:
    axes = list(Figure().subplots(1, 3))
    outputs, rng = outputs_of(demo(kind)), np.random.default_rng(5)
    true = np.eye(3)[np.arange(12) % 3]
    draw_outputs(axes, outputs, true, rng.normal(size=(12, 3)))
    drawn = [axis for axis in axes if axis.axison]
    assert len(drawn) == (1 if kind == "classes" else 3)
    assert all(axis.get_xlabel() for axis in drawn)
