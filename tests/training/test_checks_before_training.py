"""What would fail after an epoch fails before the first step, and what is tried is put back."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.optim.lr_scheduler as torch_schedules
from torch import nn
from toy import Toy, make_trainer

from runtime.errors import UserError

DATA = (Toy(40), Toy(20, seed=1))


def fit_with(folder, make_scheduler, **options):
    """Fit with a schedule and return the learning rates of the epochs."""
    trainer = make_trainer(folder, jitter=False, scheduler=None, **options)
    trainer.scheduler = make_scheduler(trainer.optimizer)
    return [row["learning_rate"] for row in trainer.fit(*DATA).history]


@pytest.mark.parametrize(
    ("make_scheduler", "options", "message"),
    [
        (torch_schedules.ReduceLROnPlateau, {}, "--set scheduler_target=valid_loss"),
        (
            lambda optimizer: torch_schedules.OneCycleLR(optimizer, 0.1, total_steps=5),
            {"batch_scheduler": True},
            "OneCycleLR cannot be stepped through the 9 optimiser steps",
        ),
        (
            lambda optimizer: torch_schedules.StepLR(optimizer, 1),
            {"scheduler_target": "valid_loss"},
            "StepLR does not follow a score: --set scheduler_target=none",
        ),
        (
            lambda optimizer: torch_schedules.LambdaLR(optimizer, lambda epoch: [1.0, 0.5][epoch]),
            {},
            "LambdaLR cannot be stepped through the 3 epochs",
        ),
    ],
)
def test_a_schedule_that_would_fail_is_refused(tmp_path, make_scheduler, options, message) -> None:
    with pytest.raises(UserError, match=message):
        fit_with(tmp_path, make_scheduler, **options)
    assert not list(tmp_path.glob("*.pt"))  # before the first epoch


@pytest.mark.parametrize(
    ("make_optimizer", "message"),
    [
        (torch.optim.LBFGS, "LBFGS evaluates the loss several times"),
        (torch.optim.SparseAdam, "SparseAdam cannot make a step on this network"),
    ],
)
def test_an_optimiser_that_would_fail_is_refused(tmp_path, make_optimizer, message) -> None:
    trainer = make_trainer(tmp_path, scheduler=None)
    trainer.optimizer = make_optimizer(trainer.model.parameters(), lr=1e-3)
    with pytest.raises(UserError, match=message):
        trainer.fit(*DATA)


@pytest.mark.parametrize("name", ["Adagrad", "Adam", "ASGD", "NAdam", "RAdam", "Rprop", "SGD"])
def test_the_trial_of_an_optimiser_leaves_nothing_behind(tmp_path, name) -> None:
    trainer = make_trainer(tmp_path, scheduler=None)
    trainer.optimizer = getattr(torch.optim, name)(trainer.model.parameters(), lr=1e-3)
    weights = copy.deepcopy(trainer.model.state_dict())
    state = copy.deepcopy(trainer.optimizer.state_dict())
    loader = trainer.make_loader(DATA[0], shuffle=True)
    trainer.check_before_training(DATA[0], loader.batch_sampler)
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, weights[key])
    after = trainer.optimizer.state_dict()
    assert after["param_groups"] == state["param_groups"]
    assert after["state"].keys() == state["state"].keys()
    trainer.fit(*DATA)


def test_the_trial_of_a_schedule_leaves_nothing_behind(tmp_path) -> None:
    rates = fit_with(tmp_path, lambda optimizer: torch_schedules.CosineAnnealingLR(optimizer, 3))
    assert rates == pytest.approx([1e-2, 0.75e-2, 0.25e-2])


class Pooled(nn.Module):
    """A network with batch norm on pooled features, as many image networks have in their head."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x.mean(-1)))  # (B, 3, T) -> (B, 3) -> (B, 1)


def make_pooled(folder, **options):
    model = Pooled()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return make_trainer(folder, model=model, optimizer=optimizer, scheduler=None, **options)


def test_a_single_last_row_shares_the_batch_before_it(tmp_path) -> None:
    trainer = make_pooled(tmp_path, batch_size=29, num_epochs=2)
    assert len(trainer.fit(Toy(30), Toy(20, seed=1)).history) == 2
    assert trainer.record.rows == []
    sampler = trainer.make_loader(Toy(30), shuffle=True).batch_sampler
    assert [len(batch) for batch in sampler] == [15, 15]


@pytest.mark.parametrize(("rows", "batch_size"), [(9, 2), (1, 4)])
def test_a_single_row_that_cannot_be_helped_is_refused_before_the_start(
    tmp_path, rows, batch_size
) -> None:
    trainer = make_pooled(tmp_path, batch_size=batch_size)
    with pytest.raises(UserError, match=rf"single row.*--set batch_size={batch_size + 1}"):
        trainer.fit(Toy(rows), Toy(20, seed=1))
    assert torch.equal(trainer.model.norm.running_mean, torch.zeros(3))
    # A network that can learn from one row does.
    make_trainer(tmp_path, batch_size=batch_size, num_epochs=1).fit(Toy(rows), Toy(20, seed=1))
