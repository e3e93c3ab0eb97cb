"""The warm-up lowers the rate of a step and leaves the schedule alone."""

from __future__ import annotations

import pytest
import torch.optim.lr_scheduler as torch_schedules
from torch import nn
from torch.optim import SGD
from toy import Toy, make_trainer

from training.optimizer_step import warmed_up

DATA = (Toy(64), Toy(20, seed=1))  # four steps an epoch


def test_a_warm_up_lowers_only_the_step_itself() -> None:
    optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.3)
    seen = []
    for done in range(4):
        with warmed_up(optimizer, 2, done):
            seen.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[0]["lr"] == 0.3
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.3])


@pytest.mark.parametrize("stop_at", [0, 6])
def test_any_schedule_is_warmed_up_and_resumed(tmp_path, stop_at: int) -> None:
    def fresh():
        trainer = make_trainer(tmp_path, warmup_steps=7, checkpoint_every=0, scheduler=None)
        # Each rate of this one is computed from the last: it must not see a lowered one.
        trainer.scheduler = torch_schedules.ExponentialLR(trainer.optimizer, 0.5)
        return trainer

    trainer = fresh()
    if stop_at:
        step = trainer.train_step

        def dying(*args, **kwargs):
            if trainer.state.updates == stop_at:
                raise KeyboardInterrupt
            step(*args, **kwargs)

        trainer.train_step = dying
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(*DATA)
        trainer = fresh()
        assert trainer.resume()
    rates = [row["learning_rate"] for row in trainer.fit(*DATA).history]
    # Of the last of four steps in each epoch: step 3 and step 7 from 0, of a warm-up of 7.
    assert rates == pytest.approx([1e-2 * 4 / 8, 0.5e-2, 0.25e-2])
