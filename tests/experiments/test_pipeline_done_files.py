"""Marks are checked against what lies on disk, and a check changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from fold_files import plan_of, save_fold
from pipeline_runs import contents

from experiments.pipeline import Plan
from experiments.pipeline_done_files import (
    are_of_other_weights,
    current_digest,
    finished_digest,
    mark_names,
    mark_predictions,
    outdated_marks,
    unmarked_predictions,
    write_mark,
)
from experiments.prediction_stamp import read_stamp
from runtime.files import read_json, write_json


def mark_folds(plan: Plan, run: str, *folds: int) -> None:
    for fold in folds:
        name = f"{run}/fold{fold}.done"
        write_mark(Path(plan.results) / name, current_digest(Path(plan.results), name))


def test_marks_of_a_finished_pipeline_hold(pipeline: Plan) -> None:
    results = Path(pipeline.results)
    names = mark_names(pipeline)
    assert len(names) == 9
    assert all((results / name).read_text().strip() for name in names)
    assert [current_digest(results, name) for name in names] == [
        (results / name).read_text().strip() for name in names
    ]
    before = contents(results)
    assert outdated_marks(pipeline) == {}
    assert unmarked_predictions(pipeline) == []
    assert contents(results) == before


def test_marks_of_other_weights_are_outdated(tmp_path: Path) -> None:
    plan, folder = plan_of(tmp_path, "Demo"), tmp_path / "demo"
    for fold in range(4):
        save_fold(folder, seed=fold, fold=fold)
    mark_folds(plan, "demo", *range(4))
    save_fold(folder, seed=0, fold=0)  # to the same weights
    save_fold(folder, seed=7, fold=1)  # to others
    save_fold(folder, seed=8, fold=2, finished=False)  # and killed
    (folder / "fold3.pt").unlink()
    before = contents(tmp_path)
    reasons = outdated_marks(plan)
    assert list(reasons) == [f"demo/fold{fold}.done" for fold in (1, 2, 3)]
    assert "have changed" in reasons["demo/fold1.done"]
    assert f"{folder / 'fold2.pt'} is not finished" in reasons["demo/fold2.done"]
    assert contents(tmp_path) == before


def test_empty_marks_are_believed_where_the_fold_is_finished(tmp_path: Path) -> None:
    plan, folder = plan_of(tmp_path, "Demo"), tmp_path / "demo"
    save_fold(folder, seed=1)
    save_fold(folder, seed=1, fold=1, finished=False)
    for fold in range(3):  # of fold 2 there is nothing else
        (folder / f"fold{fold}.done").touch()
    assert list(outdated_marks(plan)) == ["demo/fold1.done", "demo/fold2.done"]


def test_a_child_whose_parent_was_retrained_is_outdated(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "Wave01", "Wave02", "Wave03")
    first = save_fold(tmp_path / "wave_01", seed=1)
    second = save_fold(tmp_path / "wave_02", seed=2, start=first)
    save_fold(tmp_path / "wave_03", seed=3, start=second)
    for run in plan.runs:
        mark_folds(plan, run, 0)
    assert outdated_marks(plan) == {}
    save_fold(tmp_path / "wave_01", seed=4)
    mark_folds(plan, "wave_01", 0)  # by another pipeline, which has no children
    reasons = outdated_marks(plan)
    assert list(reasons) == ["wave_02/fold0.done"]
    assert "began with other weights" in reasons["wave_02/fold0.done"]


def test_a_damaged_record_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    plan, folder = plan_of(tmp_path, "Demo"), tmp_path / "demo"
    save_fold(folder, seed=1)
    mark_folds(plan, "demo", 0)
    for text in ("[]", "{", "3"):
        (folder / "fold0.json").write_text(text)
        assert "fold0.json" in outdated_marks(plan)["demo/fold0.done"]


@pytest.mark.parametrize(
    ("removed", "outdated"),
    [
        ("demo/predictions.npy", "demo/predictions.done"),
        ("demo/outoffolds.npy", "demo/predictions.done"),
        ("pseudo_demo/predictions_tta.json", "pseudo_demo/predictions_tta.done"),
        ("submission.csv", "stack.done"),
        ("index.html", "report.done"),
    ],
)
def test_a_mark_of_removed_results_is_outdated(pipeline: Plan, removed: str, outdated: str) -> None:
    (Path(pipeline.results) / removed).unlink()
    assert list(outdated_marks(pipeline)) == [outdated]


def test_predictions_of_other_weights_are_outdated(pipeline: Plan) -> None:
    results = Path(pipeline.results)
    path = results / "demo" / "fold1.json"
    write_json(path, read_json(path) | {"weights": "another"})
    (results / "demo" / "fold1.done").write_text("")  # says nothing, the predictions do
    assert are_of_other_weights(results / "demo")
    assert list(outdated_marks(pipeline)) == ["demo/predictions.done"]


def test_finished_predictions_of_earlier_versions_are_marked(pipeline: Plan) -> None:
    results = Path(pipeline.results)
    names = [name for name in mark_names(pipeline) if "predictions" in name]
    for name in names:
        (results / name).unlink()
    for path in results.glob("*/fold*.done"):
        path.write_text("")
    before = contents(results)
    assert unmarked_predictions(pipeline) == names
    assert contents(results) == before
    mark_predictions(pipeline, names)
    assert unmarked_predictions(pipeline) == []
    assert outdated_marks(pipeline) == {}
    for name in names:
        mark = results / name
        folds = mark.parent.glob("fold*.done")
        assert mark.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in folds)


@pytest.mark.parametrize("spoilt", ["mark", "weights", "stamp"])
def test_unfinished_predictions_of_earlier_versions_are_not_marked(
    pipeline: Plan, spoilt: str
) -> None:
    folder = Path(pipeline.results) / "demo"
    (folder / "predictions.done").unlink()
    if spoilt == "mark":
        (folder / "fold1.done").unlink()
    elif spoilt == "weights":
        write_json(folder / "fold1.json", read_json(folder / "fold1.json") | {"weights": "other"})
        (folder / "fold1.done").write_text("")
    else:
        stamp = read_stamp(folder)
        del stamp["folds"]["1"]
        write_json(folder / "predictions.json", stamp)
    assert unmarked_predictions(pipeline) == []


def test_weights_without_a_record_are_not_finished(tmp_path: Path) -> None:
    digest = save_fold(tmp_path / "demo", seed=1)
    assert finished_digest(tmp_path / "demo" / "fold0.pt") == digest
    (tmp_path / "demo" / "fold0.json").unlink()
    assert finished_digest(tmp_path / "demo" / "fold0.pt") is None
