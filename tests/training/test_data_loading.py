"""Batches weigh as their rows do; readers and resumed epochs change nothing but the speed."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from toy import Toy, make_trainer

from runtime.errors import UserError

ROWS = (96, 80, 84, 100)


def gradients(folder, rows: int, batch_size: int, accumulate: int) -> tuple[list, float]:
    """Return the gradient of each optimiser step of an epoch, and the training loss."""
    found = []
    trainer = make_trainer(
        folder, jitter=False, batch_size=batch_size, accumulate=accumulate, num_epochs=1, lr=0.0
    )
    trainer.scheduler = None
    parameters = list(trainer.model.parameters())
    trainer.optimizer.register_step_pre_hook(
        lambda *_: found.append(torch.cat([p.grad.flatten().clone() for p in parameters]))
    )
    state = trainer.fit(Toy(rows), Toy(20, seed=1))
    return found[1:], state.history[0]["train_loss"]  # the first is the trial's


@pytest.mark.parametrize("rows", ROWS)
def test_an_accumulation_equals_a_large_batch_in_every_step(tmp_path, rows: int) -> None:
    large, loss = gradients(tmp_path / "large", rows, 64, 1)
    small, same_loss = gradients(tmp_path / "small", rows, 16, 4)
    assert len(large) == len(small) == 2
    for one, other in zip(large, small, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert same_loss == pytest.approx(loss, rel=1e-6)


def stopped_after(trainer, steps: int, rows: int) -> None:
    """Fit until the trainer has saved after a given number of steps, and stop there."""
    save = trainer.save_last

    def save_and_stop() -> None:
        save()
        if trainer.state.step == steps:
            raise KeyboardInterrupt

    trainer.save_last = save_and_stop
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(Toy(rows), Toy(20, seed=1))


@pytest.mark.parametrize(("batch_size", "accumulate", "step"), [(8, 4, 8), (32, 1, 2), (16, 2, 4)])
def test_a_smaller_batch_resumes_within_an_epoch(tmp_path, batch_size, accumulate, step) -> None:
    options = {"jitter": False, "checkpoint_every": 0, "num_epochs": 2}
    whole = make_trainer(tmp_path / "whole", batch_size=32, **options)
    whole.fit(Toy(200), Toy(20, seed=1))
    stopped_after(make_trainer(tmp_path / "parts", batch_size=32, **options), 2, 200)
    resumed = make_trainer(
        tmp_path / "parts", batch_size=batch_size, accumulate=accumulate, **options
    )
    assert resumed.resume()
    started = []
    train_epoch = resumed.train_epoch
    resumed.train_epoch = lambda loader: (started.append(resumed.state.step), train_epoch(loader))[
        1
    ]
    resumed.fit(Toy(200), Toy(20, seed=1))
    assert started == [step, 0]
    # The rows of each optimiser step are the same; their sums are rounded otherwise.
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_batch_that_does_not_begin_at_the_checkpoint_is_refused(tmp_path) -> None:
    options = {"checkpoint_every": 0, "num_epochs": 2}
    stopped_after(make_trainer(tmp_path, batch_size=32, **options), 3, 200)
    resumed = make_trainer(tmp_path, batch_size=20, **options)
    assert resumed.resume()
    with pytest.raises(UserError, match=r"after 96 rows.*--set batch_size=32 as before"):
        resumed.fit(Toy(200), Toy(20, seed=1))


class Damaged(Toy):
    """A sample of it cannot be read, or its reader process is killed."""

    def __init__(self, n: int, error: Exception | None = None) -> None:
        super().__init__(n)
        self.error, self.owner = error, os.getpid()

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        if 37 in indices and self.error is not None:
            raise self.error
        if 37 in indices and os.getpid() != self.owner:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitems__(indices)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "error",
    [
        UserError("train/ab.npy has shape (3, 17): expected (3, 4096)"),
        FileNotFoundError(2, "No such file or directory", "train/ab.npy"),
    ],
)
def test_a_bad_sample_is_the_same_error_from_a_reader_process(
    tmp_path, num_workers: int, error: Exception
) -> None:
    trainer = make_trainer(tmp_path, num_workers=num_workers)
    for work in (lambda data: trainer.fit(data, Toy(20)), trainer.predict):
        with pytest.raises(type(error)) as raised:
            work(Damaged(64, error))
        assert str(raised.value) == str(error)
        assert raised.value.args == error.args


def test_a_killed_reader_process_is_a_sentence(tmp_path) -> None:
    trainer = make_trainer(tmp_path, num_workers=2)
    for work in (lambda data: trainer.fit(data, Toy(20)), trainer.predict):
        with pytest.raises(UserError, match=r"a reader process has ended.*--num_workers 1, and"):
            work(Damaged(64))
