"""What a checkpoint holds of a fit, and what of it survives a change of settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from runtime.errors import UserError
from training.checkpoints import save_checkpoint
from training.epoch_record import EpochRecord
from training.fit_state import (
    FitParts,
    TrainerState,
    pack_checkpoint,
    place_step_counts,
    restore_checkpoint,
)
from training.lookahead import Lookahead
from training.schedules import describe_beginning
from training.settings import Schedule

CPU = torch.device("cpu")


def make_parts(lr: float = 0.1, width: int = 2) -> FitParts:
    torch.manual_seed(0)
    model = nn.Linear(3, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    beginning = describe_beginning(optimizer, scheduler)
    return FitParts(model, optimizer, scheduler, scaler, None, (), None, beginning)


def train(parts: FitParts, epochs: int) -> None:
    for _ in range(epochs):
        parts.model(torch.ones(4, 3)).square().mean().backward()
        parts.optimizer.step()
        parts.optimizer.zero_grad()
        parts.scheduler.step()


def saved(folder: Path, parts: FitParts, state: TrainerState) -> Path:
    path = folder / "fold0_last.pt"
    save_checkpoint(path, pack_checkpoint(parts, state, EpochRecord()))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A fit after two epochs of one step."""
    parts = make_parts()
    train(parts, 2)
    return saved(tmp_path, parts, TrainerState(epoch=2, updates=2, history=[{}, {}]))


def test_a_resumed_fit_equals_one_that_never_stopped(checkpoint: Path) -> None:
    unbroken, resumed = make_parts(), make_parts()
    train(unbroken, 5)
    state, record = restore_checkpoint(checkpoint, resumed, Schedule(), CPU)
    assert (state.epoch, state.updates, record.losses) == (2, 2, [])
    train(resumed, 3)
    assert torch.equal(resumed.model.weight, unbroken.model.weight)
    assert resumed.scheduler.get_last_lr() == unbroken.scheduler.get_last_lr()


def test_a_new_learning_rate_holds_at_the_place_of_the_old_schedule(checkpoint: Path) -> None:
    resumed = make_parts(lr=0.02)
    restore_checkpoint(checkpoint, resumed, Schedule(scheduler=resumed.scheduler), CPU)
    (group,) = resumed.optimizer.param_groups
    assert group["lr"] == pytest.approx(0.02 * 0.5**2)  # two epochs of the schedule are done
    moments = [part["momentum_buffer"] for part in resumed.optimizer.state.values()]
    assert all(moment.any() for moment in moments)  # those of the checkpoint


def test_a_checkpoint_of_another_network_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="belongs to another network or optimiser"):
        restore_checkpoint(checkpoint, make_parts(width=5), Schedule(), CPU)


def test_a_checkpoint_of_more_processes_is_refused(tmp_path: Path) -> None:
    parts = make_parts()
    content = pack_checkpoint(parts, TrainerState(), EpochRecord())
    content["of_ranks"] *= 2
    save_checkpoint(tmp_path / "fold0_last.pt", content)
    with pytest.raises(UserError, match="was written by 2 processes and this run has 1"):
        restore_checkpoint(tmp_path / "fold0_last.pt", parts, Schedule(), CPU)


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_counted_where_the_optimiser_takes_them(fused: bool, around: bool) -> None:
    """Of a checkpoint from a CPU, on the device of torch that holds nothing."""
    parameter = nn.Parameter(torch.empty(2, device="meta"))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    optimizer.state[parameter]["step"] = torch.tensor(3.0)
    optimizer.param_groups[0]["fused"] = fused
    place_step_counts(Lookahead().around(optimizer) if around else optimizer)
    assert optimizer.state[parameter]["step"].device.type == ("meta" if fused else "cpu")
