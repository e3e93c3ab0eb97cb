"""A stack from runs in a folder to its scores, its choice, and what each model adds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from stack_runs import NAMES, make_stack, write_results

from experiments.npy_files import load_array
from runtime.errors import UserError
from stack import plots as stack_plots
from stack import report as stack_report
from stack.blend import StackResult, StackSettings, blend_runs, leave_one_out, methods_to_try
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
    again = blend_runs(stack_results, StackSettings(resamples=200))
    np.testing.assert_array_equal(again.fit.test, stack.fit.test)
    assert (
        stack_report.score_frame(again)
        .drop(columns="seconds")
        .equals(stack_report.score_frame(stack).drop(columns="seconds"))
    )


def test_a_method_by_name(stack_results: Path, stack: StackResult, tmp_path: Path) -> None:
    asked = blend_runs(stack_results, StackSettings(method="ridge_rank", resamples=20))
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
    alone = blend_runs(results, StackSettings(train_csv=train, resamples=20))
    assert (alone.inputs.test_csv, alone.test_aucs) == (None, {})
    table = write_stack(alone, tmp_path / "out")
    assert table["id"].tolist() == data.test_ids.tolist()
    text = stack_report.format_score_table(alone)
    assert "is not clearly better (the scores are the same)" in text
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
        blend_runs(stack_results, StackSettings(method="cmaes"))


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


# --- what is submitted -----------------------------------------------------------------------


@pytest.fixture
def noisy_results(tmp_path: Path) -> Path:
    """One good run and two that heard nothing: no blend of them is better than the good one."""
    data, truth = make_stack(n=300, m=120)
    rng = np.random.default_rng(2)
    out_of_fold, test = data.out_of_fold.copy(), data.test.copy()
    out_of_fold[:, 1:] = rng.normal(size=(300, 2))
    test[..., 1:] = rng.normal(size=(3, 120, 2))
    return write_results(tmp_path, replace(data, out_of_fold=out_of_fold, test=test), truth)


def test_a_blend_that_is_not_better_is_not_submitted(noisy_results: Path, tmp_path: Path) -> None:
    stack = blend_runs(noisy_results, StackSettings(resamples=200))
    assert stack.best_model.name == "pseudo_14"
    assert stack.methods[stack.method].difference_to(stack.best_model).low <= 0
    assert (stack.submitted_model, stack.submitted.name) == ("pseudo_14", "pseudo_14")

    table = write_stack(stack, tmp_path / "out").set_index("id")["target"]
    logits = load_array(noisy_results / "pseudo_14" / "predictions.npy")[..., 0]
    ids = load_array(noisy_results / "pseudo_14" / "ids_test.npy")
    mean = (1 / (1 + np.exp(-logits.astype(np.float64)))).mean(0)
    np.testing.assert_allclose(table.loc[ids], mean, rtol=1e-9)
    out_of_fold = load_array(tmp_path / "out" / "stack_outoffolds.npy")[:, 0]
    assert roc_auc_score(stack.data.targets, out_of_fold) == roc_auc_score(
        stack.data.targets, stack.data.out_of_fold[:, 0]
    )

    record = json.loads((tmp_path / "out" / "stack.json").read_text())
    assert record["submitted"] == {"kind": "model", "name": "pseudo_14"}
    scores = stack_report.score_frame(stack).query("chosen")
    assert scores[["kind", "name"]].values.tolist() == [["model", "pseudo_14"]]
    text = stack_report.format_score_table(stack)
    assert "* pseudo_14" in text
    for words in (text, stack_report.stack_paragraph(stack, tmp_path / "out")):
        assert "Submitted is the best single run, pseudo_14" in words


def test_a_method_that_was_asked_for_is_submitted_all_the_same(noisy_results: Path) -> None:
    stack = blend_runs(noisy_results, StackSettings(method="mean", resamples=50))
    assert stack.submitted.name == "mean"
    text = stack_report.format_score_table(stack)
    assert "as asked for, although it is not clearly better" in text


def test_what_the_members_were_trained_on_is_said(results: Path) -> None:
    path = results / "pseudo_16" / "config.json"
    labels = {"pseudo_labels": {"class": "PseudoLabels", "source": "nspec_16"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | labels))
    stack = blend_runs(results, StackSettings(method="mean", resamples=20))
    models = stack_report.stack_record(stack)["models"]
    assert [models[name]["test_labelled_by"] for name in NAMES] == [None, "nspec_16", None]
    text = stack_report.format_score_table(stack)
    assert "with pseudo-labels: pseudo_16 (by nspec_16)" in text
    assert "the held-out scores need not hold on the test set" in text


def test_unfinished_members_are_marked_everywhere(results: Path, tmp_path: Path) -> None:
    # As written by versions without digests
    (results / "pseudo_07" / "predictions.json").write_text(
        '{"views": ["identity"], "weights": {}}'
    )
    (results / "pseudo_07" / "fold2.json").write_text('{"finished": false, "epoch": 1}')
    quick = StackSettings(method="mean", resamples=20)
    left = blend_runs(results, quick)
    assert left.data.names == ("pseudo_14", "pseudo_16")
    assert "fold 2" in stack_report.stack_record(left)["left_out"]["pseudo_07"]
    assert "Left out: pseudo_07" in stack_report.format_score_table(left)
    stack = blend_runs(results, replace(quick, allow_unfinished=True))
    assert stack.data.names == NAMES
    record = stack_report.stack_record(stack)
    assert list(record["models"]["pseudo_07"]["unfinished_folds"]) == ["2"]
    assert "Unfinished: fold 2 of pseudo_07, as allowed." in stack_report.format_score_table(stack)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    data, truth = make_stack(n=120, m=40)
    return write_results(tmp_path, data, truth)
