"""Batches of an optimiser step weigh as their rows do, whatever their number and size."""

from __future__ import annotations

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
    """Fit until the trainer has saved after so many steps, and stop there."""
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
