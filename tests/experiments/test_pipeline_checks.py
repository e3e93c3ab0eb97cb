"""Jobs ask the weights and labels, not the names or dates of files, what is to be done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fold_files import plan_of, save_fold
from pipeline_runs import contents, lost_results

from experiments.moved_aside import is_moved_aside
from experiments.npy_files import save_array
from experiments.pipeline import Plan
from experiments.pipeline_checks import (
    began_with_other_weights,
    digest_to_mark,
    has_predictions_of_other_weights,
    labels_digest,
    move_run_of_other_labels_aside,
)
from runtime.errors import UserError
from runtime.files import read_json, write_json


def test_a_mark_holds_the_digest_of_finished_weights(tmp_path: Path) -> None:
    digest = save_fold(tmp_path / "demo", seed=1)
    assert digest_to_mark(tmp_path, "demo/fold0.done") == digest
    save_fold(tmp_path / "demo", seed=1, fold=1, finished=False)
    with pytest.raises(UserError, match="has not ended"):
        digest_to_mark(tmp_path, "demo/fold1.done")
    # Other weights in the place of those that the record is of
    (tmp_path / "demo" / "fold0.pt").write_bytes((tmp_path / "demo" / "fold1.pt").read_bytes())
    save_fold(tmp_path / "demo", seed=2, fold=2)
    (tmp_path / "demo" / "fold0.pt").write_bytes((tmp_path / "demo" / "fold2.pt").read_bytes())
    with pytest.raises(UserError, match="is not the file that"):
        digest_to_mark(tmp_path, "demo/fold0.done")


def test_no_mark_without_complete_results(tmp_path: Path) -> None:
    for name in ("demo/predictions.done", "demo/predictions_tta.done", "stack.done", "report.done"):
        with pytest.raises(UserError, match="not complete"):
            digest_to_mark(tmp_path, name)


def test_a_child_of_other_weights_is_noticed(tmp_path: Path) -> None:
    """Wave02 starts from Wave01, and Wave03 from Wave02."""
    plan = plan_of(tmp_path, "Wave01", "Wave02", "Wave03")

    def outdated() -> list[bool]:
        return [began_with_other_weights(config, tmp_path, 0) for config in plan.runs.values()]

    first = save_fold(tmp_path / "wave_01", seed=1)
    second = save_fold(tmp_path / "wave_02", seed=2, start=first)
    save_fold(tmp_path / "wave_03", seed=3, start=second)
    assert outdated() == [False, False, False]
    # A fold that was not begun
    assert not began_with_other_weights(plan.runs["wave_02"], tmp_path, 1)
    first = save_fold(tmp_path / "wave_01", seed=4)  # retrained
    assert outdated() == [False, True, False]
    save_fold(tmp_path / "wave_02", seed=5, start=first)  # and so the child
    assert outdated() == [False, False, True]


def test_a_copy_of_the_parent_is_the_parent(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "Wave01", "Wave02")
    first = save_fold(tmp_path / "wave_01", seed=1)
    save_fold(tmp_path / "wave_02", seed=2, start=first)
    for path in (tmp_path / "wave_01").iterdir():
        path.touch()
    assert not began_with_other_weights(plan.runs["wave_02"], tmp_path, 0)


def test_predictions_of_other_weights_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    digest = save_fold(folder, seed=1)
    assert not has_predictions_of_other_weights(folder)
    for suffix in ("", "_tta"):
        stamp = {"views": [], "folds": {"0": {"weights": digest, "own": True}}}
        write_json(folder / f"predictions{suffix}.json", stamp)
    assert not has_predictions_of_other_weights(folder)
    save_fold(folder, seed=2)
    assert has_predictions_of_other_weights(folder)


def test_a_run_of_other_labels_is_moved_aside_whole(pipeline: Plan) -> None:
    results, config = Path(pipeline.results), pipeline.runs["pseudo_demo"]
    before = contents(results)
    # Of the labels that are there now
    assert move_run_of_other_labels_aside(config, results) is None
    assert contents(results) == before
    logits = np.load(results / "demo" / "predictions.npy")
    digest = labels_digest(config, results)
    save_array(results / "demo" / "predictions.npy", logits + 1)
    assert labels_digest(config, results) != digest
    aside = move_run_of_other_labels_aside(config, results)
    assert is_moved_aside(aside)
    assert read_json(aside / "pseudo_labels.json")["digest"] == digest
    assert lost_results(before, results) == ["demo/predictions.npy"]  # which the test changed
    assert not list((results / "pseudo_demo").glob("*.pt"))
    # The job of the next fold finds it moved.
    assert move_run_of_other_labels_aside(config, results) is None
