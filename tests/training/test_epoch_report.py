"""The line of an epoch in the log."""

from __future__ import annotations

import logging
import re

from toy import Toy, make_trainer

from training.epoch_report import format_epoch_line
from training.fit_state import TrainerState

SCORES = {
    "epoch": 2,
    "train_loss": 0.5,
    "valid_metric": 0.75,
    "train_seconds": 60.0,
    "data_seconds": 15.0,
    "valid_seconds": 5.0,
    "samples_per_second": 1234.4,
    "gradient_norm": 0.25,
    "clipped_steps": 0.125,
    "learning_rate": 1e-3,
}


def line_of(state: TrainerState, is_best: bool = True) -> str:
    state.history = [SCORES, SCORES]
    return format_epoch_line("fold0", state, 4, is_best, "memory 3.1 GiB")


def test_scores_times_and_the_rest_of_the_fold() -> None:
    line = line_of(TrainerState(epoch=2, best_epoch=2, best_score=0.75, seconds=120.0))
    assert line.startswith("fold0 epoch 2/4 | train_loss=0.500000 | valid_metric=0.750000 | ")
    assert " | lr=1.00e-03 | gradient=2.50e-01 (12% clipped) | " in line
    assert "(25% data) | 1,234 samples/s | " in line
    assert "train_seconds" not in line
    assert "best=" not in line  # it is this epoch
    # 2 epochs took 120 s, so that the 2 that are left take as long.
    assert line.endswith("this fold: 2 min 00 s left | memory 3.1 GiB")


def test_the_best_epoch_is_named_where_it_is_another() -> None:
    state = TrainerState(epoch=2, best_epoch=1, best_score=0.875, seconds=120.0)
    assert "best=0.875000 (epoch 1)" in line_of(state, is_best=False)


def test_a_finished_fold_has_nothing_left() -> None:
    line = line_of(TrainerState(epoch=4, finished=True, seconds=120.0))
    assert "left" not in line
    assert line.endswith("samples/s | memory 3.1 GiB")


def test_steps_are_logged_where_that_is_asked_for(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    for log_steps in (False, True):
        trainer = make_trainer(tmp_path, log_steps=log_steps, log_every=2, num_epochs=1)
        trainer.fit(Toy(64), Toy(20, seed=1))
        found = re.findall(r"fold0 epoch 1, step (\d)/4: loss=0\.\d+, gradient=\S+", caplog.text)
        assert found == (["2", "4"] if log_steps else [])
