"""A run sends its curves, digests and scores to its trackers, and resuming continues them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from small_run import make_data, run_here

from experiments.fold_record import read_fold
from experiments.tracking_of_runs import fold_figures
from runtime.files import read_json
from training.fit_state import TrainerState


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("tracked") / "data")


def rows_of(run: Path, part: str) -> list[dict[str, str]]:
    with open(run / "tracking" / part / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_tracked_and_a_longer_one_continues(data: Path, tmp_path: Path) -> None:
    settings = ("tracker=[tensorboard,csv]", "num_epochs=1")
    run_here(data, tmp_path, "--silent", settings=settings)
    run = tmp_path / "demo"
    assert sorted(path.name for path in (run / "tensorboard").iterdir()) == ["fold0", "fold1"]
    (row,) = rows_of(run, "fold0")
    for key in ("valid_metric", "gradient_norm", "clipped_steps", "samples_per_second"):
        assert float(row[key]) >= 0, key
    result = read_json(run / "tracking" / "all_folds" / "result.json")
    assert result["oof_auc"] == read_json(run / "summary.json")["oof_auc"]
    digests = {f"fold{k}": read_fold(run / f"fold{k}.pt").digest for k in (0, 1)}
    assert result["weights"] == digests
    assert read_json(run / "tracking" / "fold0" / "result.json")["weights"] == digests["fold0"]

    done = run_here(data, tmp_path, "--silent", "--resume", settings=("tracker=csv",))
    assert "samples/s" in done.stdout or not done.stdout.count("epoch 2/2")
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
