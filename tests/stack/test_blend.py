"""A stack from runs in a folder to its scores, its choice, and what each model adds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from stack_runs import NAMES, make_stack, write_results

from runtime.errors import UserError
from stack import plots as stack_plots
from stack import report as stack_report
from stack.blend import StackResult, blend_runs, leave_one_out, methods_to_try
from stack.features import Features
from stack.files import write_stack
from stack.methods import cross_fit


def test_the_stack_beats_its_models(stack: StackResult) -> None:
    """The models hear one loudness in noises of their own: together they hear it better."""
    chosen = stack.methods[stack.method]
    against = chosen.difference_to(stack.best_model)
    assert stack.best_model.name == "pseudo_14"
    assert against.low > 0
    # The out-of-sample score foretells the test's, to 3 of the two standard errors.
    error = np.hypot(chosen.score.error, chosen.score.error * np.sqrt(1500 / 600))
    assert abs(chosen.score.mean - stack.test_aucs["method"][stack.method]) < 3 * error
    assert stack.choice is not None
    assert np.mean(stack.choice.nested) <= max(c.score.mean for c in stack.methods.values())
    assert 0 < stack.choice.optimism < chosen.score.error


def test_the_same_again(stack_results: Path, stack: StackResult) -> None:
    again = blend_runs(stack_results, resamples=200)
    np.testing.assert_array_equal(again.fit.test, stack.fit.test)
    assert (
        stack_report.score_frame(again)
        .drop(columns="seconds")
        .equals(stack_report.score_frame(stack).drop(columns="seconds"))
    )


def test_a_method_by_name(stack_results: Path, stack: StackResult, tmp_path: Path) -> None:
    asked = blend_runs(stack_results, method="ridge_rank", resamples=20)
    assert list(asked.fits) == ["mean", "ridge_rank"]  # the mean is what all are compared with
    assert (asked.method, asked.choice) == ("ridge_rank", None)
    np.testing.assert_array_equal(asked.fit.test, stack.fits["ridge_rank"].test)
    write_stack(asked, tmp_path)
    assert json.loads((tmp_path / "stack.json").read_text())["choice"] is None


def test_one_run_and_no_tables_beside_it(tmp_path: Path) -> None:
    data, _ = make_stack(n=120, m=30, names=("demo",))
    results = write_results(tmp_path, data)
    (results / "demo" / "config.json").unlink()
    train = tmp_path / "input/train.csv"
    alone = blend_runs(results, train_csv=train, resamples=20)
    assert (alone.inputs.test_csv, alone.test_aucs) == (None, {})
    table = write_stack(alone, tmp_path / "out")
    assert table["id"].tolist() == data.test_ids.tolist()
    left = leave_one_out(alone)
    assert left.empty
    assert stack_plots.plot_left_out(left).axes
    for draw in (stack_plots.plot_scores, stack_plots.plot_correlations, stack_plots.plot_weights):
        assert draw(alone).axes


def test_a_package_that_is_not_there(stack_results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    tried, skipped = methods_to_try("auto")
    assert "cmaes" not in tried
    assert "pip install -e '.[stack]'" in skipped["cmaes"]
    with pytest.raises(UserError, match="pip install"):
        blend_runs(stack_results, method="cmaes")


def test_what_a_model_adds(stack: StackResult) -> None:
    """Against a stack that was never given the model."""
    table = leave_one_out(stack, "ridge_rank")
    assert table["adds"].is_monotonic_decreasing
    assert set(table["model"]) == set(NAMES)
    whole = stack.methods["ridge_rank"].score.mean
    without = cross_fit("ridge_rank", Features(stack.data.without("pseudo_14")))
    expected = np.mean(
        [
            roc_auc_score(stack.data.targets[rows], without.out_of_fold[rows])
            for rows in map(stack.data.rows, range(3))
        ]
    )
    row = table.set_index("model").loc["pseudo_14"]
    assert row["auc_without"] == pytest.approx(expected, abs=1e-12)
    assert row["adds"] == pytest.approx(whole - expected, abs=1e-12)
    assert 0 < row["low"] < row["adds"] < row["high"]
    assert table["model"].iloc[0] == "pseudo_14"  # the best model is missed the most
