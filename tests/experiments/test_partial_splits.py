"""A hold-out, a split by time, all data: against scikit-learn, and through the command lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.model_selection
from command_here import run_main
from small_run import make_data, run_here

import configs
import predict
import report
import stacking
from configuration.overrides import override
from experiments.fold_record import read_fold
from experiments.folds import fold_of_rows, split_folds
from experiments.partial_splits import explain_validation
from experiments.predictions import read_predictions
from experiments.run_records import NOT_VALIDATED
from runtime.errors import UserError

ALL = ("cv=1", "num_epochs=1")
HOLD_OUT = ("splitter=HoldOut", "cv=1", "num_epochs=1", "splitter_params.fraction=0.25")


@pytest.fixture
def table(rng: np.random.Generator) -> pd.DataFrame:
    """120 samples, as `load_index` returns them: all but the target are text."""
    times = rng.permutation(np.arange(120)) * 10
    return pd.DataFrame(
        {
            "id": [f"s{k}" for k in range(120)],
            "target": rng.permutation(np.arange(120) % 2).astype(float),
            "group": [f"run{k}" for k in rng.integers(0, 20, 120)],
            "time": times.astype(str),
        }
    )


def config(*words: str):
    return override(configs.Demo, words)


def test_all_data_trains_on_every_sample(table: pd.DataFrame) -> None:
    ((trained, validated),) = folds = split_folds(config("cv=1"), table)
    np.testing.assert_array_equal(trained, np.arange(120))
    assert not len(validated)
    assert (fold_of_rows(folds, 120) == NOT_VALIDATED).all()


def test_a_hold_out_is_the_share_of_each_class(table: pd.DataFrame) -> None:
    ((trained, validated),) = split_folds(config(*HOLD_OUT), table)
    assert len(validated) == 30
    assert table["target"][validated].mean() == 0.5
    assert sorted([*trained, *validated]) == list(range(120))
    ((again, _),) = split_folds(config(*HOLD_OUT), table)
    np.testing.assert_array_equal(trained, again)
    ((other, _),) = split_folds(config(*HOLD_OUT, "splitter_params.random_state=1"), table)
    assert not np.array_equal(trained, other)


def test_a_hold_out_of_groups_keeps_them_together(table: pd.DataFrame) -> None:
    words = (*HOLD_OUT, "splitter_params.column=group")
    ((trained, validated),) = split_folds(config(*words), table)
    assert not set(table["group"][trained]) & set(table["group"][validated])
    assert len(set(table["group"][validated])) == 5


@pytest.mark.parametrize("cv", [2, 3, 5])
def test_blocks_of_time_are_those_of_scikit_learn(cv: int, table: pd.DataFrame) -> None:
    found = split_folds(config("splitter=TimeSplit", f"cv={cv}"), table)
    order = np.argsort(table["time"].astype(int).to_numpy())
    reference = sklearn.model_selection.TimeSeriesSplit(cv).split(order)
    for (trained, validated), (earlier, later) in zip(found, reference, strict=True):
        np.testing.assert_array_equal(trained, np.sort(order[earlier]))
        np.testing.assert_array_equal(validated, np.sort(order[later]))


def test_the_latest_fifth_is_validated_with_a_gap_before_it(table: pd.DataFrame) -> None:
    times = table["time"].astype(int).to_numpy()
    words = ("splitter=TimeSplit", "cv=1", "splitter_params.gap=50")
    ((trained, validated),) = split_folds(config(*words), table)
    assert sorted(times[validated]) == list(range(960, 1200, 10))
    assert times[trained].max() < 960 - 50


def test_samples_of_one_time_are_on_one_side(table: pd.DataFrame) -> None:
    days = (table["time"].astype(int) // 200).astype(str)
    ((trained, validated),) = split_folds(
        config("splitter=TimeSplit", "cv=1"), table.assign(time=days)
    )
    assert not set(days[trained]) & set(days[validated])


def test_a_fold_of_minus_one_is_only_trained_on(table: pd.DataFrame) -> None:
    table = table.assign(fold=(np.arange(120) // 2 % 3 - 1).astype(str))
    folds = split_folds(config("splitter=PredefinedSplit", "cv=2"), table)
    np.testing.assert_array_equal(fold_of_rows(folds, 120), np.arange(120) // 2 % 3 - 1)
    assert all(set(np.flatnonzero(table["fold"] == "-1")) <= set(rows) for rows, _ in folds)


BAD = {
    "two of one": (("splitter=HoldOut",), "makes one split, and cv = 5: add --set cv=1"),
    "more than all": ((*HOLD_OUT, "splitter_params.fraction=1.5"), "a share between 0 and 1"),
    "a word": (("splitter=TimeSplit", "splitter_params.fraction=most"), "a share between 0 and 1"),
    "misspelt": ((*HOLD_OUT, "splitter_params.fractoin=0.1"), "did you mean 'fraction'"),
    "nothing": ((*HOLD_OUT, "splitter_params.fraction=0.001"), "splitter = 'HoldOut' on"),
    "no group": ((*HOLD_OUT, "splitter_params.column=month"), "reads the column 'month'"),
    "gap": (("splitter=TimeSplit", "cv=1", "splitter_params.gap=-1"), "gap = -1: expected a num"),
    "wide gap": (
        ("splitter=TimeSplit", "cv=1", "splitter_params.gap=5000"),
        "is before the block that fold 0 validates",
    ),
    "no time": (("splitter=TimeSplit", "splitter_params.column=gps"), "reads the column 'gps'"),
    "a name for a time": (
        ("splitter=TimeSplit", "splitter_params.column=group"),
        "expected a number such as a GPS time",
    ),
    "too much time": (
        ("splitter=TimeSplit", "cv=3", "splitter_params.fraction=0.4"),
        "in each of 3 folds leaves none to begin with",
    ),
    "none": (("cv=0",), "or 1 to train on all samples without validation"),
    "splitter of none": (("cv=1", "splitter=KFolds"), "did you mean 'KFold'"),
}


@pytest.mark.parametrize("case", BAD)
def test_splits_that_cannot_be_made(case: str, table: pd.DataFrame) -> None:
    words, message = BAD[case]
    with pytest.raises(UserError) as error:
        split_folds(config(*words), table)
    assert message in str(error.value)


def test_what_is_not_validated_is_said() -> None:
    assert explain_validation(config("cv=1"), np.zeros(5, int)) is None
    assert "validates 2 of 5" in explain_validation(config(*HOLD_OUT), np.array([-1, 0, -1, 0, -1]))
    assert "trains on all 5 samples" in explain_validation(config("cv=1"), np.full(5, -1))


# --- the command lines -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input", n_train=40, n_test=12)


@pytest.fixture(scope="module")
def all_data(data: Path, tmp_path_factory) -> Path:
    """Results of Demo, trained on all samples."""
    results = tmp_path_factory.mktemp("all") / "results"
    done = run_here(data, results, settings=ALL)
    assert "No sample was validated, so that there is no out-of-fold score" in done.stdout
    return results


def test_all_data_keeps_the_last_epoch_and_resumes(data: Path, all_data: Path) -> None:
    run = all_data / "demo"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["n_validated"] == 0
    assert "oof_auc" not in summary
    assert "test_auc" in summary  # of simulated samples, whose truth is known
    assert np.isnan(np.load(run / "outoffolds.npy")).all()
    assert len((run / "submission.csv").read_text().splitlines()) == 13
    before = (run / "fold0.pt").read_bytes()
    run_here(data, all_data, "--resume", settings=ALL)
    assert (run / "fold0.pt").read_bytes() == before
    run_here(data, all_data, "--resume", settings=("cv=1", "num_epochs=2"))
    record = read_fold(run / "fold0.pt")
    assert record.finished
    assert record.epoch == record.weights_epoch == 2
    assert all("valid_metric" not in row for row in record.state["history"])
    run_here(data, all_data, "--inference", "--tta", settings=("cv=1", "num_epochs=2"))
    assert read_predictions(run, "_tta").missing_folds == []


def test_what_needs_validation_refuses_all_data(data: Path, all_data: Path, tmp_path: Path) -> None:
    done = run_main(stacking.main, ["--results", all_data, "--experiments", "demo"])
    assert done.returncode == 2
    assert "validated 0 of its 40 training samples, and a stack is fitted on" in done.stderr
    schedule = ("cv=1", "scheduler=ReduceLROnPlateau", "scheduler_target=valid_loss")
    done = run_here(data, tmp_path, settings=schedule, code=2)
    assert "no sample is validated: choose a schedule that takes no score" in done.stderr
    # Its test logits label samples for a run of the same split, and for no other.
    labels = {"config": "PseudoDemo", "script": "train_pseudo.py"}
    done = run_here(data, all_data, settings=("num_epochs=1",), code=2, **labels)
    assert "has 1 folds and this experiment 2" in done.stderr
    run_here(data, all_data, settings=ALL, **labels)
    assert run_main(report.main, ["--results", all_data]).returncode == 0
    assert "no training sample was validated (cv = 1)" in (all_data / "index.html").read_text()


def test_new_samples_are_scored_by_all_data(data: Path, all_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    done = run_main(
        predict.main, ["--run", all_data / "demo", "--data", data / "train.csv", "--out", out]
    )
    assert done.returncode == 0, done.stderr
    assert "40 of them are among the samples that the networks have learnt from" in done.stdout
    assert list(pd.read_csv(out)) == ["id", "probability", "spread", "fold0", "learnt_from"]


def test_a_hold_out_is_scored_on_what_it_validates(data: Path, tmp_path: Path) -> None:
    done = run_here(data, tmp_path, settings=HOLD_OUT)
    run = tmp_path / "demo"
    assert "on the 10 samples that are validated" in done.stdout
    folds = np.load(run / "folds.npy")
    np.testing.assert_array_equal(np.isfinite(np.load(run / "outoffolds.npy")[:, 0]), folds == 0)
    assert (folds == 0).sum() == 10
    assert json.loads((run / "summary.json").read_text())["n_validated"] == 10
    assert run_main(report.main, ["--results", tmp_path]).returncode == 0
    assert "10 of 40 training samples were validated" in (tmp_path / "index.html").read_text()
    again = run_here(data, tmp_path, "--resume", settings=HOLD_OUT)
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
