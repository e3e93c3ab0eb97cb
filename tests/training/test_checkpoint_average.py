"""The mean of several epochs' weights takes the place of the best, also after a kill."""

from __future__ import annotations

import math

import pytest
import torch
from toy import Toy, make_trainer

from runtime.errors import UserError
from training.checkpoint_average import CheckpointAverage
from training.checkpoints import load_checkpoint

DATA = (Toy(48), Toy(64, seed=1))


def scores(*values: float) -> list[dict[str, float]]:
    return [{"valid_metric": value} for value in values]


@pytest.mark.parametrize(
    ("average", "values", "expected"),
    [
        (CheckpointAverage(2), (0.7, 0.9, 0.8, 0.6), [2, 3]),
        (CheckpointAverage(2, maximize=False), (0.7, 0.9, 0.8, 0.6), [1, 4]),
        (CheckpointAverage(2, which="last"), (0.7, 0.9, 0.8, 0.6), [3, 4]),
        (CheckpointAverage(2), (0.7, math.nan, 0.5), [1, 3]),
        (CheckpointAverage(2), (0.7, 0.7, 0.7), [2, 3]),
        (CheckpointAverage(4), (0.7, 0.9), [1, 2]),
    ],
)
def test_which_epochs_are_averaged(average, values, expected) -> None:
    assert average.choose(scores(*values)) == expected


def test_without_validation_the_last_are_averaged_and_a_wrong_score_is_refused(tmp_path) -> None:
    assert CheckpointAverage(2).choose([{"train_loss": 1.0}] * 3) == [2, 3]
    with pytest.raises(UserError, match="CheckpointAverage: there is no score 'valid_loss_'"):
        make_trainer(tmp_path, average=CheckpointAverage(2, target="valid_loss_"))


@pytest.mark.parametrize("arguments", [{"count": 1}, {"which": "first"}])
def test_choices_that_make_no_sense_are_refused(arguments: dict) -> None:
    with pytest.raises(UserError, match="CheckpointAverage"):
        CheckpointAverage(**arguments)


def make(folder, which: str = "last", num_epochs: int = 4):
    average = CheckpointAverage(2, which)
    return make_trainer(folder, average=average, num_epochs=num_epochs, checkpoint_every=0)


def test_the_mean_replaces_the_best_and_is_validated(tmp_path) -> None:
    trainer = make(tmp_path)
    seen = []
    save = trainer.save_last

    def noting_save():
        if trainer.state.step == 0 and trainer.state.average is None:
            state = trainer.model.state_dict()
            seen.append({name: value.clone() for name, value in state.items()})
        save()

    trainer.save_last = noting_save
    state = trainer.fit(*DATA)
    kept = load_checkpoint(tmp_path / "fold0.pt")["model"]
    for name, value in kept.items():
        torch.testing.assert_close(value, (seen[-2][name] + seen[-1][name]) / 2)
    assert state.average["epochs"] == [3, 4]
    assert state.finished
    # The trainer keeps the weights of the last epoch, from which more epochs would continue.
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, seen[-1][name])
    trainer.model.load_state_dict(kept)
    again = trainer.validate(trainer.make_loader(DATA[1], shuffle=False))
    assert again["valid_metric"] == state.average["valid_metric"]
    assert sorted(path.name for path in tmp_path.glob("fold0_epoch*")) == [
        "fold0_epoch3.pt",
        "fold0_epoch4.pt",
    ]


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("which", "at"), [("best", "keep_newest"), ("last", "remove_others"), ("last", "mean")]
)
def test_killed_and_resumed_equals_unbroken(tmp_path, which: str, at: str) -> None:
    whole = make(tmp_path / "whole", which)
    whole.fit(*DATA)
    broken = make(tmp_path / "parts", which)
    method, count = getattr(broken.epoch_files, at), iter(range(1, 100))

    def dying(*args):
        if at == "mean" or next(count) == 3:
            raise Killed
        return method(*args)

    setattr(broken.epoch_files, at, dying)
    with pytest.raises(Killed):
        broken.fit(*DATA)
    again = make(tmp_path / "parts", which)
    assert again.resume()
    assert not again.state.finished
    again.fit(*DATA)
    one, two = (load_checkpoint(tmp_path / run / "fold0.pt")["model"] for run in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert again.state.average == whole.state.average
    names = [sorted(p.name for p in (tmp_path / run).iterdir()) for run in ("whole", "parts")]
    assert names[0] == names[1]
    finished = make(tmp_path / "parts", which)
    assert finished.resume()
    assert finished.state.finished


def test_more_epochs_continue_from_the_last_and_average_anew(tmp_path) -> None:
    make(tmp_path / "parts", num_epochs=2).fit(*DATA)
    longer = make(tmp_path / "parts", num_epochs=4)
    assert longer.resume()
    whole = make(tmp_path / "whole", num_epochs=4)
    # The schedule restarts after four epochs, whatever num_epochs is.
    assert longer.fit(*DATA).average == whole.fit(*DATA).average
