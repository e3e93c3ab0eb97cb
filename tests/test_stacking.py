"""The stacking command from runs in a folder to the files that it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from paths import ROOT
from sklearn.metrics import roc_auc_score
from stack_runs import NAMES, make_stack, read_exactly, write_results

import stacking
from experiments.predictions import load_array, save_array
from runtime.errors import UserError
from stack import plots as stack_plots
from stack import report as stack_report
from stack.methods import METHODS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, truth = make_stack()
    return write_results(tmp_path_factory.mktemp("stack"), data, truth)


@pytest.fixture(scope="module")
def stack(results: Path) -> stacking.Stack:
    return stacking.build(results, resamples=200)


def test_the_whole_way(
    results: Path, stack: stacking.Stack, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, truth = make_stack()
    out = tmp_path / "out"
    assert stacking.main(["--results", str(results), "--out", str(out), "--resamples", "200"]) == 0
    said = capsys.readouterr().out

    sample = pd.read_csv(results.parent / "input/sample_submission.csv")
    table = read_exactly(out / "submission.csv")
    assert list(table) == ["id", "target"]
    assert table["id"].tolist() == sample["id"].tolist()  # which are not in the runs' order
    pd.testing.assert_frame_equal(table, stacking.submission(stack), rtol=0, atol=0)
    assert roc_auc_score(truth[::-1], table["target"]) == pytest.approx(
        stack.test_areas["method"][stack.method], abs=1e-12
    )

    np.testing.assert_array_equal(load_array(out / "stack_ids.npy"), data.train_ids)
    out_of_fold = load_array(out / "stack_outoffolds.npy")
    assert out_of_fold.shape == (1500, 1)
    np.testing.assert_array_equal(out_of_fold[:, 0], stack.fit.out_of_fold)

    plain = json.loads((out / "stack.json").read_text())
    assert plain["method"] == stack.method
    assert list(plain["models"]) == list(NAMES)
    available = [name for name in METHODS if name not in plain["skipped"]]
    assert list(plain["methods"]) == available
    assert len(plain["missing"]) == 17
    assert plain["methods"]["reference"]["in_sample"] == list(stack.fits["reference"].in_sample)
    assert plain["versions"]["numpy"] == np.__version__
    for name, weights in plain["methods"]["ridge_rank"]["weights"].items():
        column = data.names.index(name)
        assert weights == stack.fits["ridge_rank"].weights[:, column].tolist()

    scores = pd.read_csv(out / "stack.csv").set_index("name")
    assert set(scores.index) == {*available, *NAMES}
    rows = [np.flatnonzero(data.folds == k) for k in range(3)]
    loud = [roc_auc_score(data.targets[r], data.out_of_fold[r, 0]) for r in rows]
    assert scores.loc[NAMES[0], "auc"] == pytest.approx(np.mean(loud))
    assert scores.loc[NAMES[0], "std"] == pytest.approx(np.std(loud, ddof=1))
    assert scores.loc[NAMES[0], "vs_best"] == 0  # it is the best, with the least noise
    assert scores.loc[NAMES[1], "vs_best"] < 0
    assert scores.loc[NAMES[1], "vs_best_low"] < scores.loc[NAMES[1], "vs_best_high"]

    for words in (
        "3 models: pseudo_14, pseudo_16, pseudo_07",
        "Of the 20 final experiments 17 are missing",
        "pseudo_12 (Pseudo12)",
        "test AUC",
        f"* {stack.method}",
        "against pseudo_14",
        "Test AUC",
        "on the rows of its own fit",
    ):
        assert words in said, words


def test_the_stack_beats_its_models(stack: stacking.Stack) -> None:
    """The models hear one loudness in noises of their own: together they hear it better."""
    chosen = stack.methods[stack.method]
    against = chosen.against(stack.best_model)
    assert stack.best_model.name == "pseudo_14"
    assert against.low > 0
    # The out-of-sample score foretells the test's, to 3 of the two standard errors.
    error = np.hypot(chosen.score.error, chosen.score.error * np.sqrt(1500 / 600))
    assert abs(chosen.score.mean - stack.test_areas["method"][stack.method]) < 3 * error
    assert stack.choice is not None
    assert np.mean(stack.choice.nested) <= max(c.score.mean for c in stack.methods.values())
    assert 0 < stack.choice.optimism < chosen.score.error


def test_the_same_again(results: Path, stack: stacking.Stack) -> None:
    again = stacking.build(results, resamples=200)
    np.testing.assert_array_equal(again.fit.test, stack.fit.test)
    assert (
        stack_report.table(again)
        .drop(columns="seconds")
        .equals(stack_report.table(stack).drop(columns="seconds"))
    )


def test_a_method_by_name(results: Path, stack: stacking.Stack, tmp_path: Path) -> None:
    asked = stacking.build(results, method="ridge_rank", resamples=20)
    assert list(asked.fits) == ["mean", "ridge_rank"]  # the mean is what all are compared with
    assert (asked.method, asked.choice) == ("ridge_rank", None)
    np.testing.assert_array_equal(asked.fit.test, stack.fits["ridge_rank"].test)
    stacking.write(asked, tmp_path)
    assert json.loads((tmp_path / "stack.json").read_text())["choice"] is None


def test_one_run_and_no_tables_beside_it(tmp_path: Path) -> None:
    data, _ = make_stack(n=120, m=30, names=("demo",))
    results = write_results(tmp_path, data)
    (results / "demo" / "config.json").unlink()
    train = tmp_path / "input/train.csv"
    alone = stacking.build(results, train_csv=train, resamples=20)
    assert (alone.inputs.test_csv, alone.test_areas) == (None, {})
    table = stacking.write(alone, tmp_path / "out")
    assert table["id"].tolist() == data.test_ids.tolist()
    left = stacking.leave_one_out(alone)
    assert left.empty
    assert stack_plots.left_out(left).axes
    for draw in (stack_plots.scores, stack_plots.correlations, stack_plots.weights):
        assert draw(alone).axes


def test_a_package_that_is_not_there(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    tried, skipped = stacking.methods_to_try("auto")
    assert "cmaes" not in tried
    assert "pip install -e '.[stack]'" in skipped["cmaes"]
    with pytest.raises(UserError, match="pip install"):
        stacking.build(results, method="cmaes")


def test_what_a_model_adds(stack: stacking.Stack) -> None:
    """Against a stack that was never given the model."""
    table = stacking.leave_one_out(stack, "ridge_rank")
    assert table["adds"].is_monotonic_decreasing
    assert set(table["model"]) == set(NAMES)
    whole = stack.methods["ridge_rank"].score.mean
    without = stacking.cross_fit("ridge_rank", stacking.Features(stack.data.without("pseudo_14")))
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


def test_pictures(stack: stacking.Stack, tmp_path: Path) -> None:
    figures = {
        "scores": stack_plots.scores(stack),
        "correlations": stack_plots.correlations(stack),
        "weights": stack_plots.weights(stack),
        "roc": stack_plots.roc_curves(stack),
        "calibration": stack_plots.calibration(stack),
        "left_out": stack_plots.left_out(stacking.leave_one_out(stack, "mean")),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png", dpi=40)
        assert len(np.unique(imread(tmp_path / f"{name}.png"))) > 20, f"{name} is blank"
        assert all(axes.has_data() for axes in figure.axes), name
    scores = figures["scores"].axes[0]
    assert len(scores.get_yticks()) == len(stack.models) + len(stack.methods)
    curve = figures["roc"].axes[0].lines[0]
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    pooled = roc_auc_score(stack.data.targets, stack.fit.out_of_fold)
    assert area == pytest.approx(pooled, abs=1e-3)  # of a curve that is drawn by 2,000 points
    with pytest.raises(UserError, match="'boosting' has no weights"):
        stack_plots.weights(stack, "boosting")


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--method", "median"], "--method median: expected auto or one of mean, mean_logit"),
        (["--experiments", "pseudo_41"], "--experiments pseudo_41: there is no folder"),
        (["--train_csv", "absent.csv"], "absent.csv does not exist"),
        (["--sample_submission", "absent.csv"], "absent.csv does not exist"),
        (["--resamples", "1"], "--resamples 1: a bootstrap needs at least 2"),
        (["--results", "absent"], "absent is not a folder"),
    ],
)
def test_mistakes(results: Path, tmp_path: Path, extra: list[str], message: str) -> None:
    out = tmp_path / "out"
    quick = ["--method", "mean", "--resamples", "20"]
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        stacking.main(["--results", str(results), "--out", str(out), *quick, *extra])
    assert not out.exists()  # nothing half done


def test_an_unfinished_run_is_refused_in_one_line(tmp_path: Path) -> None:
    data, truth = make_stack(n=60, m=20)
    results = write_results(tmp_path, data, truth)
    path = results / "pseudo_16" / "predictions.npy"
    logits = load_array(path).copy()
    logits[2] = np.nan
    save_array(path, logits)
    command = [sys.executable, str(ROOT / "stacking.py"), "--results", str(results)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert "pseudo_16 has no finite logits of fold 2" in line
    assert not (results / "submission.csv").exists()


def test_help_answers_at_once() -> None:
    """It imports none of what takes seconds."""
    heavy = ["torch", "scipy", "sklearn", "pandas", "matplotlib", "configs"]
    code = (
        f"import sys, stacking\ntry: stacking.main(['--help'])\nexcept SystemExit: pass\n"
        f"sys.exit(','.join(set(sys.modules) & set({heavy})) or None)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr == ""
    for word in ("--experiments", "--no_tta", "nonnegative_rank", "submission.csv"):
        assert word in ended.stdout
