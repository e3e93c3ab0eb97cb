"""The stacking command from runs in a folder to the files that it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from paths import ROOT
from sklearn.metrics import roc_auc_score
from stack_runs import NAMES, make_stack, read_exactly, write_results

import configs  # noqa: F401 - registers the experiments
import stacking
from experiments.npy_files import load_array, save_array
from runtime.errors import UserError
from stack.blend import StackResult, StackSettings, blend_runs
from stack.files import submission_frame
from stack.methods import METHODS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, truth = make_stack()
    return write_results(tmp_path_factory.mktemp("stack"), data, truth)


@pytest.fixture(scope="module")
def stack(results: Path) -> StackResult:
    return blend_runs(results, StackSettings(resamples=200))


def test_the_whole_way(
    results: Path, stack: StackResult, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, truth = make_stack()
    out = tmp_path / "out"
    assert stacking.main(["--results", str(results), "--out", str(out), "--resamples", "200"]) == 0
    said = capsys.readouterr().out

    sample = pd.read_csv(results.parent / "input/sample_submission.csv")
    table = read_exactly(out / "submission.csv")
    assert list(table) == ["id", "target"]
    assert table["id"].tolist() == sample["id"].tolist()  # which are not in the runs' order
    pd.testing.assert_frame_equal(table, submission_frame(stack), rtol=0, atol=0)
    assert roc_auc_score(truth[::-1], table["target"]) == pytest.approx(
        stack.test_aucs["method"][stack.method], abs=1e-12
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


def test_an_unfinished_run_that_was_named_is_refused_in_one_line(tmp_path: Path) -> None:
    data, truth = make_stack(n=60, m=20)
    results = write_results(tmp_path, data, truth)
    path = results / "pseudo_16" / "predictions.npy"
    logits = load_array(path).copy()
    logits[2] = np.nan
    save_array(path, logits)
    command = [sys.executable, str(ROOT / "stacking.py"), "--results", str(results)]
    command += ["--experiments", *NAMES]
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
