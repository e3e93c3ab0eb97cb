"""What a start does with a fold, for each state in which an earlier one may have left it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fold_files import write_run_config, write_trained_fold

from experiments.fold_plan import FoldAction, plan_fold
from experiments.fold_record import read_fold
from runtime.errors import UserError
from training.checkpoints import save_checkpoint


def test_a_finished_fold_is_kept(tmp_path: Path) -> None:
    plan = plan_fold(0, read_fold(write_trained_fold(tmp_path)), 3)
    assert plan.action is FoldAction.KEEP
    assert not plan.trains


def test_missing_weights_of_a_finished_fold_are_an_error_and_no_reason_to_train(
    tmp_path: Path,
) -> None:
    path = write_trained_fold(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"fold0.pt is missing.*--overwrite --limit_fold 0"):
        plan_fold(0, read_fold(path), 3)


def test_an_unfinished_fold_is_resumed(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path, finished=False)
    record = read_fold(path)
    plan = plan_fold(0, record, 6)
    assert plan.action is FoldAction.RESUME
    assert plan.trains
    with pytest.raises(UserError, match="--resume instead of --skip_existing"):
        plan_fold(0, record, 6, skip_existing=True)
    assert plan_fold(0, record, 6, True, True).action is FoldAction.KEEP
    (tmp_path / "fold0_last.pt").unlink()
    with pytest.raises(UserError, match="would be resumed from after epoch 3: restore it"):
        plan_fold(0, read_fold(path), 6)


def test_a_fold_that_lacks_the_epochs_its_run_now_asks_for_is_extended(tmp_path: Path) -> None:
    """Another fold of the run was given more epochs, or the run was killed between the two."""
    record = read_fold(write_trained_fold(tmp_path, epochs=3))
    write_run_config(tmp_path, 5)
    record = read_fold(record.path)
    assert plan_fold(0, record, 5).action is FoldAction.EXTEND
    with pytest.raises(UserError, match=r"3 of the 5 epochs.*--resume instead of --skip_existing"):
        plan_fold(0, record, 5, skip_existing=True)


def test_more_epochs_extend_it_unless_it_was_stopped_early(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path)
    assert plan_fold(0, read_fold(path), 5).action is FoldAction.EXTEND
    state = json.loads((tmp_path / "fold0.json").read_text())
    state["adjusted"][0]["num_epochs"] = 4  # the callback stopped it after 3
    (tmp_path / "fold0.json").write_text(json.dumps(state))
    assert plan_fold(0, read_fold(path), 5).action is FoldAction.KEEP
    (tmp_path / "fold0_last.pt").unlink()
    state["adjusted"][0]["num_epochs"] = 3
    (tmp_path / "fold0.json").write_text(json.dumps(state))
    with pytest.raises(
        UserError, match=r"fold0_last\.pt is missing, which fold 0 would be trained"
    ):
        plan_fold(0, read_fold(path), 5)


def test_weights_of_another_training_are_refused(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path)
    save_checkpoint(path, {"model": {"a": torch.zeros(3)}, "state": {}})
    record = read_fold(path)
    assert not record.finished
    with pytest.raises(UserError, match=r"is not the file that fold0\.json is of"):
        plan_fold(0, record, 3)


def test_killed_before_its_first_checkpoint_it_begins(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path, epochs=1, finished=False)
    (tmp_path / "fold0_last.pt").unlink()
    assert plan_fold(0, read_fold(path), 6).action is FoldAction.BEGIN
    assert plan_fold(0, read_fold(tmp_path / "fold7.pt"), 6).action is FoldAction.BEGIN


def test_weights_of_a_stranger_are_kept_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "fold0.pt"
    save_checkpoint(path, {"model": {"a": torch.zeros(3)}})
    record = read_fold(path)
    assert not record.is_known
    with pytest.raises(UserError, match="without a record of its training"):
        plan_fold(0, record, 3)
    assert plan_fold(0, record, 3, skip_existing=True).action is FoldAction.KEEP


def test_skip_existing_says_before_the_training_that_a_fold_has_too_few_epochs(
    tmp_path: Path,
) -> None:
    record = read_fold(write_trained_fold(tmp_path, epochs=3))
    write_run_config(tmp_path, 3)
    with pytest.raises(UserError, match="for 3 epochs, and this run asks for 5: --resume instead"):
        plan_fold(0, record, 5, skip_existing=True)
    kept = plan_fold(0, record, 5, skip_existing=True, allow_unfinished=True)
    assert kept.action is FoldAction.KEEP


@pytest.mark.parametrize(
    ("best_epoch", "early_stopping", "action"),
    [
        (6, {}, FoldAction.EXTEND),
        (4, {"patience": 3}, FoldAction.EXTEND),
        (3, {"patience": 3}, FoldAction.KEEP),
        (2, {"patience": 3, "skip_epoch": 4}, FoldAction.EXTEND),
        (None, {"patience": 3}, FoldAction.KEEP),  # no score was ever better than NaN
    ],
)
def test_an_older_fold_is_extended_unless_it_was_stopped_early(
    tmp_path: Path, best_epoch: int | None, early_stopping: dict, action: FoldAction
) -> None:
    """Older runs do not record how many epochs were asked for: the best epoch tells."""
    path = write_trained_fold(tmp_path, epochs=6)
    state = json.loads((tmp_path / "fold0.json").read_text())
    del state["adjusted"]
    state["best_epoch"] = best_epoch
    (tmp_path / "fold0.json").write_text(json.dumps(state))
    write_run_config(tmp_path, 6, **early_stopping)
    assert plan_fold(0, read_fold(path), 8).action is action
    # The first start with more epochs has written them into config.json and was then killed.
    write_run_config(tmp_path, 8, **early_stopping)
    record = read_fold(path)
    assert plan_fold(0, record, 8).action is action
    assert record.finished == (action is FoldAction.KEEP)
