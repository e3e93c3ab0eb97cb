"""The line of an epoch in the log."""

from __future__ import annotations

import pytest

from training.epoch_report import format_epoch_line
from training.fit_state import TrainerState

SCORES = {
    "epoch": 2,
    "train_loss": 0.5,
    "valid_metric": 0.75,
    "train_seconds": 60.0,
    "data_seconds": 15.0,
    "valid_seconds": 5.0,
    "learning_rate": 1e-3,
}


def test_scores_times_and_the_rest_of_the_fold() -> None:
    state = TrainerState(epoch=2, best_epoch=2, best_score=0.75, seconds=120.0)
    line = format_epoch_line("fold0", state, 4, SCORES, is_best=True)
    assert line.startswith("fold0 epoch 2/4 | train_loss=0.500000 | valid_metric=0.750000 | ")
    assert "lr=1.00e-03" in line
    assert "(25% data)" in line
    assert "train_seconds" not in line
    assert "best=" not in line  # it is this epoch
    # 2 epochs took 120 s, so that the 2 that are left take as long.
    assert line.endswith("this fold: 2 min 00 s left")


def test_the_best_epoch_is_named_where_it_is_another() -> None:
    state = TrainerState(epoch=2, best_epoch=1, best_score=0.875, seconds=120.0)
    line = format_epoch_line("fold0", state, 4, SCORES, is_best=False)
    assert "best=0.875000 (epoch 1)" in line


@pytest.mark.parametrize("memory", [None, "3.1 GiB"])
def test_a_finished_fold_has_nothing_left(memory: str | None) -> None:
    state = TrainerState(epoch=4, finished=True, seconds=120.0)
    line = format_epoch_line("fold0", state, 4, SCORES, is_best=True, memory=memory)
    assert "left" not in line
    assert (memory is not None) == line.endswith("| 3.1 GiB")
