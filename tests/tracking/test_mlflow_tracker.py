"""Curves, config and results in MLflow's own store of files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.files import read_json, write_json
from tracking.mlflow_tracker import is_folder
from tracking.tracked_part import TrackedPart
from tracking.trackers import Trackers

mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")

HISTORY = [{"epoch": n, "valid_loss": 1 / n, "train_metric": math.nan} for n in (1, 2, 3)]
# One group of steps has bad losses alone.
POINTS = [
    {"epoch": n / 2, "step": 10 * n, "train_loss": math.nan if n == 3 else 2 / n}
    for n in range(1, 7)
]
CONFIG = {"name": "demo", "transforms": {"train": [{"class": "FlipWave", "p": 0.5}]}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder.as_uri())
    # What the tracker sets is unset again: a database would take ten seconds to be made.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    return folder


def part_of(folder: Path, epochs: int = 0) -> TrackedPart:
    return TrackedPart("demo", "fold0", folder, CONFIG, epochs)


def test_a_resumed_fit_continues_the_same_run(store: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "demo"
    run_folder.mkdir()
    first = Trackers(["mlflow"], part_of(run_folder))
    first.log_history(HISTORY[:2], POINTS[:4])
    first.close(finished=False)
    client = mlflow.MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "g2net-toolkit")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"

    again = Trackers(["mlflow"], part_of(run_folder, epochs=2))
    again.log_history(HISTORY, POINTS)
    picture = run_folder / "summary.png"
    picture.write_bytes(b"a picture")
    again.log_result({"oof_auc": 0.9, "weights": {"fold0": "abc"}}, [picture])
    again.close(finished=True)
    (run,) = client.search_runs([experiment.experiment_id])  # no second one
    assert (run.info.run_name, run.info.status) == ("demo/fold0", "FINISHED")
    points = client.get_metric_history(run.info.run_id, "valid_loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    points = client.get_metric_history(run.info.run_id, "train_loss_by_step")
    by_step = [(point.step, point.value) for point in points]
    assert by_step == [(10 * n, 2 / n) for n in range(1, 7) if n != 3]
    assert "train_metric" not in run.data.metrics  # never defined
    assert run.data.metrics["oof_auc"] == 0.9
    assert run.data.tags["weights.fold0"] == "abc"
    assert run.data.params["transforms.train.0.p"] == "0.5"
    names = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert names == {"config.json", "summary.png"}


def test_a_run_that_the_store_does_not_have_is_refused(store: Path, tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.folder.mkdir(parents=True)
    write_json(part.folder / "runs.json", {"mlflow": {"run": "0" * 32, "epochs": 1}})
    with pytest.raises(UserError, match="continues the MLflow run 0000"):
        Trackers(["mlflow"], part)
    assert read_json(part.folder / "runs.json")["mlflow"]["epochs"] == 1


def test_a_store_that_cannot_be_used_is_a_mistake_of_one_sentence(
    store: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")
    with pytest.raises(UserError, match="the store gopher://nowhere cannot be used"):
        Trackers(["mlflow"], part_of(tmp_path))


def test_which_addresses_are_folders() -> None:
    assert all(is_folder(address) for address in ("mlruns", "./mlruns", "file:./x", "file:///x"))
    assert not any(is_folder(address) for address in ("", "sqlite:///x.db", "http://host:5000"))
