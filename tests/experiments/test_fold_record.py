"""The record of a fold: its weights say whether it is finished, whichever other file is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fold_files import write_run_config, write_trained_fold

from experiments.fold_plan import FoldAction, plan_fold
from experiments.fold_record import check_finished, read_fold
from runtime.errors import UserError
from training.checkpoints import save_checkpoint


def test_a_finished_fold_is_kept(tmp_path: Path) -> None:
    record = read_fold(write_trained_fold(tmp_path))
    assert record.finished
    check_finished([record], allow_unfinished=False, advice="nothing")


@pytest.mark.parametrize("gone", ["fold0.json", "fold0_last.pt"])
@pytest.mark.parametrize("best_epoch", [1, 3])
def test_what_is_left_says_that_it_is_finished(tmp_path: Path, gone: str, best_epoch: int) -> None:
    path = write_trained_fold(tmp_path, best_epoch=best_epoch)
    (tmp_path / gone).unlink()
    assert read_fold(path).finished


def test_a_fold_without_its_weights_is_not_finished(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path)
    path.unlink()
    record = read_fold(path)
    assert not record.finished
    for allowed in (False, True):
        with pytest.raises(UserError, match=r"fold0\.pt is missing: restore it"):
            check_finished([record], allowed, "restore it")


def test_an_unfinished_fold_is_used_only_when_allowed(tmp_path: Path) -> None:
    record = read_fold(write_trained_fold(tmp_path, finished=False))
    with pytest.raises(UserError, match=r"has not ended \(epoch 3\): train on"):
        check_finished([record], False, "train on")
    check_finished([record], True, "train on")


def test_a_run_older_than_digests_is_read(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path)
    later = ("weights", "rows_per_batch", "trained_from", "adjusted")
    for name in ("fold0.pt", "fold0_last.pt"):
        content = torch.load(tmp_path / name, weights_only=True)
        content["state"] = {k: v for k, v in content["state"].items() if k not in later}
        save_checkpoint(tmp_path / name, content)
    state = json.loads((tmp_path / "fold0.json").read_text())
    (tmp_path / "fold0.json").write_text(
        json.dumps({k: v for k, v in state.items() if k not in later})
    )
    record = read_fold(path)
    assert record.finished
    assert plan_fold(0, record, 3).action is FoldAction.KEEP


def test_an_empty_record_leaves_the_state_in_the_weights(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path, finished=False)
    (tmp_path / "fold0.json").write_text("{}")
    record = read_fold(path)
    assert record.is_known
    assert record.epoch == 3
    assert not record.finished
    (tmp_path / "fold0_last.pt").unlink()  # the state inside fold0.pt is left
    assert read_fold(path).is_known
    assert not read_fold(path).finished
    for text in ("[]", "3"):
        (tmp_path / "fold0.json").write_text(text)
        with pytest.raises(UserError, match=r"fold0\.json.*remove it"):
            read_fold(path)


def test_a_fold_that_lacks_the_epochs_its_run_now_asks_for_is_not_finished(tmp_path: Path) -> None:
    """Another fold of the run was given more epochs, or the run was killed between the two."""
    path = write_trained_fold(tmp_path, epochs=3)
    write_run_config(tmp_path, 3)
    assert read_fold(path).finished
    write_run_config(tmp_path, 5)
    record = read_fold(path)
    assert not record.finished
    assert record.has_final_weights  # a start anew must still not replace them unasked
    words = r"fold0\.pt has been trained for 3 of the 5 epochs that .*config\.json asks for: resume"
    with pytest.raises(UserError, match=words):
        check_finished([record], False, "resume")
    check_finished([record], True, "resume")


def test_all_folds_that_lack_epochs_are_named(tmp_path: Path) -> None:
    records = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = write_trained_fold(tmp_path / name, epochs=3)
        write_run_config(tmp_path / name, 5)
        records.append(read_fold(path))
    with pytest.raises(
        UserError, match=r"one/fold0\.pt has .*, and .*two/fold0\.pt has .*: resume"
    ):
        check_finished(records, False, "resume")


def test_early_stopping_ends_a_training_whatever_its_run_asks_for(tmp_path: Path) -> None:
    path = write_trained_fold(tmp_path, epochs=3)
    write_run_config(tmp_path, 5)
    state = json.loads((tmp_path / "fold0.json").read_text())
    state["adjusted"][0]["num_epochs"] = 5
    (tmp_path / "fold0.json").write_text(json.dumps(state))
    assert read_fold(path).finished
