"""Groups of settings: values that make no sense are refused where they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from training.settings import Checkpointing, Loading, Precision, Schedule


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        (Schedule, {"num_epochs": 0}, "num_epochs = 0: expected 1 or more"),
        (Loading, {"batch_size": 0}, "batch_size = 0"),
        (Loading, {"batch_size": 4, "accumulate": -1}, "accumulate = -1"),
        (Precision, {"max_bad_losses": 0}, "max_bad_losses = 0"),
        (Precision, {"clip_grad": "length"}, "clip_grad"),
        (Precision, {"clip_grad": "norm", "max_grad_norm": 0.0}, "max_grad_norm"),
    ],
)
def test_values_that_make_no_sense_are_refused(group: type, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        group(**values)


def test_a_score_is_not_known_after_every_step() -> None:
    Schedule(scheduler_target="valid_loss")
    with pytest.raises(UserError, match="set batch_scheduler = False"):
        Schedule(scheduler_target="valid_loss", batch_scheduler=True)


def test_checkpoints_of_a_fold_lie_side_by_side() -> None:
    fold = Checkpointing(Path("results/demo"), "fold1")
    assert fold.best_path == Path("results/demo/fold1.pt")
    assert fold.last_path == Path("results/demo/fold1_last.pt")
    assert fold.history_path == Path("results/demo/fold1.json")
