"""A run sends its curves, digests and scores to its trackers, and resuming continues them."""

from __future__ import annotations

import csv
import importlib
import importlib.util
from pathlib import Path

import pytest
from small_run import make_data, run_here

from experiments.fold_record import read_fold
from experiments.summary import read_history
from experiments.tracking_of_runs import fold_figures
from runtime.files import read_json
from training.fit_state import TrainerState


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("tracked") / "data")


def rows_of(run: Path, part: str) -> list[dict[str, str]]:
    with open(run / "tracking" / part / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trackers(tmp_path: Path, monkeypatch) -> str:
    """Trackers as `--set` names them: with MLflow, in a store of files, where it is installed."""
    if importlib.util.find_spec("mlflow") is None:
        return "[tensorboard,csv]"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return "[tensorboard,csv,mlflow]"


def check_mlflow(expected_epochs: int) -> None:
    """See that MLflow has one run for each fold, with every epoch once, and one for the result."""
    client = importlib.import_module("mlflow").MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "g2net-toolkit")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["demo/all_folds", "demo/fold0", "demo/fold1"]
    points = client.get_metric_history(runs["demo/fold1"].info.run_id, "valid_loss")
    assert [point.step for point in points] == list(range(1, expected_epochs + 1))
    result = runs["demo/all_folds"]
    assert result.data.metrics["oof_auc"] >= 0
    names = {entry.path for entry in client.list_artifacts(result.info.run_id)}
    assert names == {"config.json", "summary.png"}


def test_a_run_is_tracked_and_a_longer_one_continues(
    data: Path, tmp_path: Path, trackers: str
) -> None:
    settings = (f"tracker={trackers}", "num_epochs=1")
    run_here(data, tmp_path, "--silent", settings=settings)
    run = tmp_path / "demo"
    assert sorted(path.name for path in (run / "tensorboard").iterdir()) == ["fold0", "fold1"]
    (row,) = rows_of(run, "fold0")
    for key in ("valid_metric", "gradient_norm", "clipped_steps", "samples_per_second"):
        assert float(row[key]) >= 0, key
    points = read_history(run / "loss_by_step.csv")
    assert {point["fold"] for point in points} == {0.0, 1.0}
    assert points[-1]["epoch"] == 1.0
    with open(run / "tracking" / "fold0" / "train_loss_by_step.csv", newline="") as file:
        tracked = [float(point["train_loss"]) for point in csv.DictReader(file)]
    assert tracked == [point["train_loss"] for point in points if point["fold"] == 0]
    result = read_json(run / "tracking" / "all_folds" / "result.json")
    assert result["oof_auc"] == read_json(run / "summary.json")["oof_auc"]
    digests = {f"fold{k}": read_fold(run / f"fold{k}.pt").digest for k in (0, 1)}
    assert result["weights"] == digests
    assert read_json(run / "tracking" / "fold0" / "result.json")["weights"] == digests["fold0"]

    if "mlflow" in trackers:
        check_mlflow(1)

    run_here(data, tmp_path, "--silent", "--resume", settings=(f"tracker={trackers}",))
    if "mlflow" in trackers:
        check_mlflow(2)
    assert [int(row["epoch"]) for row in rows_of(run, "fold1")] == [1, 2]
    # A fold that begins anew begins another tracked run; the earlier one is moved aside with it.
    run_here(
        data, tmp_path, "--silent", "--overwrite", "--limit_fold", "0", settings=("tracker=csv",)
    )
    assert len(rows_of(run, "fold0")) == 2
    aside = [path for path in tmp_path.glob("demo.*") if (path / "tracking" / "fold0").is_dir()]
    assert len(aside) == 1


def test_an_unknown_tracker_is_refused_before_anything_is_written(data, tmp_path) -> None:
    done = run_here(data, tmp_path, "--silent", settings=("tracker=wandbb",), code=2)
    assert "tracker = 'wandbb': there is no such tracker (did you mean 'wandb'?)" in done.stderr
    assert not list(tmp_path.iterdir())


def test_figures_of_a_fold_leave_out_what_there_is_not() -> None:
    state = TrainerState(epoch=2, best_epoch=1, best_score=0.75, weights="abc")
    expected = {"best_epoch": 1, "best_score": 0.75, "epochs": 2, "weights": "abc"}
    assert fold_figures(state) == expected
    state.average = {"epochs": [1, 2], "valid_metric": 0.8}
    assert fold_figures(state)["average"]["epochs"] == [1, 2]
