"""The record of a fold: finished is a property of the weights, whichever file is missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from experiments.fold_plan import FoldAction, plan_fold
from experiments.fold_record import check_finished, read_fold
from runtime.errors import UserError
from training.checkpoints import content_digest, save_checkpoint
from training.fit_state import TrainerState


def write_fold(
    folder: Path, epochs: int = 3, finished: bool = True, best_epoch: int | None = None
) -> Path:
    """Write the three files of a fold, with its best weights of an earlier epoch."""
    best_epoch = epochs if best_epoch is None else best_epoch
    weights = {"a": torch.arange(3.0), "b": torch.tensor(best_epoch)}
    adjusted = [{"from_epoch": 1, "num_epochs": epochs if finished else 2 * epochs}]
    state = TrainerState(
        epoch=epochs, finished=finished, weights=content_digest(weights), adjusted=adjusted
    )
    inside = TrainerState(
        epoch=best_epoch, finished=finished and best_epoch == epochs, weights=state.weights
    )
    path = folder / "fold0.pt"
    save_checkpoint(path, {"model": weights, "state": asdict(inside)})
    save_checkpoint(folder / "fold0_last.pt", {"model": weights, "state": asdict(state)})
    (folder / "fold0.json").write_text(json.dumps(asdict(state)))
    return path


def test_a_finished_fold_is_kept(tmp_path: Path) -> None:
    record = read_fold(write_fold(tmp_path))
    assert record.finished
    assert plan_fold(0, record, 3).action is FoldAction.KEEP
    check_finished([record], allow_unfinished=False, advice="nothing")


def test_more_epochs_extend_it_unless_it_was_stopped_early(tmp_path: Path) -> None:
    path = write_fold(tmp_path)
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


@pytest.mark.parametrize("gone", ["fold0.json", "fold0_last.pt"])
@pytest.mark.parametrize("best_epoch", [1, 3])
def test_what_is_left_says_that_it_is_finished(tmp_path: Path, gone: str, best_epoch: int) -> None:
    path = write_fold(tmp_path, best_epoch=best_epoch)
    (tmp_path / gone).unlink()
    assert read_fold(path).finished


def test_missing_weights_are_an_error_and_no_history(tmp_path: Path) -> None:
    path = write_fold(tmp_path)
    path.unlink()
    record = read_fold(path)
    assert not record.finished
    with pytest.raises(UserError, match=r"fold0.pt is missing.*--overwrite --limit_fold 0"):
        plan_fold(0, record, 3)
    for allowed in (False, True):
        with pytest.raises(UserError, match=r"fold0\.pt is missing: restore it"):
            check_finished([record], allowed, "restore it")


def test_weights_of_another_training_are_not_finished(tmp_path: Path) -> None:
    path = write_fold(tmp_path)
    save_checkpoint(path, {"model": {"a": torch.zeros(3)}, "state": {}})
    record = read_fold(path)
    assert not record.finished
    with pytest.raises(UserError, match=r"is not the file that fold0\.json is of"):
        plan_fold(0, record, 3)


def test_an_unfinished_fold_is_resumed_or_said(tmp_path: Path) -> None:
    path = write_fold(tmp_path, finished=False)
    record = read_fold(path)
    assert plan_fold(0, record, 6).action is FoldAction.RESUME
    with pytest.raises(UserError, match=r"has not ended \(epoch 3\): train on"):
        check_finished([record], False, "train on")
    check_finished([record], True, "train on")
    with pytest.raises(UserError, match="--resume instead of --skip_existing"):
        plan_fold(0, record, 6, skip_existing=True)
    assert plan_fold(0, record, 6, True, True).action is FoldAction.KEEP
    (tmp_path / "fold0_last.pt").unlink()
    with pytest.raises(UserError, match="would be resumed from after epoch 3: restore it"):
        plan_fold(0, read_fold(path), 6)


def test_killed_before_its_first_checkpoint_it_begins(tmp_path: Path) -> None:
    path = write_fold(tmp_path, epochs=1, finished=False)
    (tmp_path / "fold0_last.pt").unlink()
    assert plan_fold(0, read_fold(path), 6).action is FoldAction.BEGIN
    assert plan_fold(0, read_fold(tmp_path / "fold7.pt"), 6).action is FoldAction.BEGIN


def test_a_run_of_before_digests_is_read(tmp_path: Path) -> None:
    path = write_fold(tmp_path)
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


def test_weights_of_a_stranger_are_kept_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "fold0.pt"
    save_checkpoint(path, {"model": {"a": torch.zeros(3)}})
    record = read_fold(path)
    assert not record.is_known
    with pytest.raises(UserError, match="without a record of its training"):
        plan_fold(0, record, 3)
    assert plan_fold(0, record, 3, skip_existing=True).action is FoldAction.KEEP


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one = {"a": torch.ones(2, 3), "b": torch.zeros(())}
    same = {"b": torch.zeros(()), "a": torch.ones(3, 2).T.contiguous()}
    assert content_digest(one) == content_digest(same)
    for other in (
        {**one, "a": torch.ones(3, 2)},
        {**one, "a": torch.ones(2, 3).double()},
        {**one, "a": torch.ones(2, 3) + 1e-7},
        {"a": one["a"], "c": one["b"]},
    ):
        assert content_digest(one) != content_digest(other)
    content_digest({"half": torch.ones(2, dtype=torch.bfloat16), "empty": torch.empty(0)})


def test_an_empty_record_leaves_the_state_in_the_weights(tmp_path: Path) -> None:
    path = write_fold(tmp_path, finished=False)
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


def write_config(folder: Path, num_epochs: int, **early_stopping: int) -> None:
    callbacks = [{"class": "EarlyStopping", **early_stopping}] if early_stopping else []
    content = {"name": "demo", "num_epochs": num_epochs, "callbacks": callbacks}
    (folder / "config.json").write_text(json.dumps(content))


def test_a_fold_that_lacks_the_epochs_its_run_now_asks_for_is_not_finished(tmp_path: Path) -> None:
    """Another fold of the run was given more epochs, or the run was killed between the two."""
    path = write_fold(tmp_path, epochs=3)
    write_config(tmp_path, 3)
    assert read_fold(path).finished
    write_config(tmp_path, 5)
    record = read_fold(path)
    assert not record.finished
    assert record.has_final_weights  # a start anew must still not replace them unasked
    words = r"fold0\.pt has been trained for 3 of the 5 epochs that .*config\.json asks for: resume"
    with pytest.raises(UserError, match=words):
        check_finished([record], False, "resume")
    check_finished([record], True, "resume")
    assert plan_fold(0, record, 5).action is FoldAction.EXTEND
    with pytest.raises(UserError, match=r"3 of the 5 epochs.*--resume instead of --skip_existing"):
        plan_fold(0, record, 5, skip_existing=True)


def test_all_folds_that_lack_epochs_are_named(tmp_path: Path) -> None:
    records = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = write_fold(tmp_path / name, epochs=3)
        write_config(tmp_path / name, 5)
        records.append(read_fold(path))
    with pytest.raises(
        UserError, match=r"one/fold0\.pt has .*, and .*two/fold0\.pt has .*: resume"
    ):
        check_finished(records, False, "resume")


def test_early_stopping_ends_a_training_whatever_its_run_asks_for(tmp_path: Path) -> None:
    path = write_fold(tmp_path, epochs=3)
    write_config(tmp_path, 5)
    state = json.loads((tmp_path / "fold0.json").read_text())
    state["adjusted"][0]["num_epochs"] = 5
    (tmp_path / "fold0.json").write_text(json.dumps(state))
    assert read_fold(path).finished


def test_skip_existing_says_before_the_training_that_a_fold_has_too_few_epochs(
    tmp_path: Path,
) -> None:
    record = read_fold(write_fold(tmp_path, epochs=3))
    write_config(tmp_path, 3)
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
    path = write_fold(tmp_path, epochs=6)
    state = json.loads((tmp_path / "fold0.json").read_text())
    del state["adjusted"]
    state["best_epoch"] = best_epoch
    (tmp_path / "fold0.json").write_text(json.dumps(state))
    write_config(tmp_path, 6, **early_stopping)
    assert plan_fold(0, read_fold(path), 8).action is action
    # The first start with more epochs has written them into config.json and was then killed.
    write_config(tmp_path, 8, **early_stopping)
    record = read_fold(path)
    assert plan_fold(0, record, 8).action is action
    assert record.finished == (action is FoldAction.KEEP)
