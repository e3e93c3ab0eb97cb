"""What would fail after an epoch or later is tried before the first one, and put back.

Schedules, optimisers and the last batch of an epoch have failed after hours of training; here they
fail in the first second, with a sentence that says what to change.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from datasets import Batch
from runtime.errors import UserError, nearest
from training.checkpoints import first_line
from training.schedules import (
    group_settings,
    load_schedule_state,
    needs_score,
    schedule_state,
    step_after_epoch,
    step_after_update,
    takes_score,
)
from training.settings import Schedule

SCORES = ("train_loss", "train_metric", "valid_loss", "valid_metric")  # of every epoch
MOST_TRIED = 100_000  # steps of a schedule that are tried in advance; about a second


def check_score_names(
    schedule: Schedule, callbacks: Sequence[Any], monitors: Sequence[Any]
) -> None:
    """Refuse a schedule or a callback that waits for a score that does not exist.

    Args:
        callbacks: those that follow a score have a `target`.
        monitors: metrics beside the usual ones, each with a `name`.

    Raises:
        UserError: one waits for an unknown score.
    """
    known = [*SCORES, *(f"valid_{monitor.name}" for monitor in monitors)]
    targets = {"scheduler_target": schedule.scheduler_target}
    for callback in callbacks:
        targets[type(callback).__name__] = getattr(callback, "target", None)
    for owner, target in targets.items():
        if target is not None and target not in known:
            raise UserError(
                f"{owner}: there is no score {target!r}{nearest(target, known)}; there are "
                f"{', '.join(known)}"
            )


def check_schedule(
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    schedule: Schedule,
    epoch: int,
    updates: int,
    updates_per_epoch: int,
) -> None:
    """Run a schedule to its end and put it back, so that it cannot fail after hours of training.

    Args:
        epoch, updates: epochs and optimiser steps made so far.
        updates_per_epoch: optimiser steps in an epoch.

    Raises:
        UserError: the schedule lacks a score, or cannot be stepped as often as the fit will.
    """
    if scheduler is None:
        return
    name = type(scheduler).__name__
    if needs_score(scheduler) and schedule.scheduler_target is None:
        raise UserError(
            f"{name} follows a score: name it with --set scheduler_target=valid_loss (or another "
            f"score of the history)"
        )
    if schedule.scheduler_target is not None and not takes_score(scheduler):
        raise UserError(
            f"scheduler_target = {schedule.scheduler_target!r}: {name} does not follow a score: "
            f"--set scheduler_target=none"
        )
    steps = (schedule.num_epochs - epoch) * updates_per_epoch
    scores = {} if schedule.scheduler_target is None else {schedule.scheduler_target: 0.5}
    done = 0
    with restored_afterwards(optimizer, scheduler):
        try:
            for done in range(1, min(steps, MOST_TRIED) + 1):
                step_after_update(scheduler, schedule, updates + done)
            for number in range(epoch + 1, schedule.num_epochs + 1):
                step_after_epoch(scheduler, schedule, number, scores)
        except Exception as error:  # a schedule may raise anything
            unit = "optimiser steps" if schedule.batch_scheduler else "epochs"
            count = updates + steps if schedule.batch_scheduler else schedule.num_epochs
            raise UserError(
                f"{name} cannot be stepped through the {count} {unit} of this fit "
                f"({type(error).__name__}: {' '.join(str(error).split())}): change "
                f"scheduler_params, or leave out its length, which is then filled in"
            ) from error


@contextmanager
def restored_afterwards(optimizer: torch.optim.Optimizer, scheduler: Any) -> Iterator[None]:
    """Put a schedule and the settings of its optimiser back after the block."""
    state = copy.deepcopy(schedule_state(scheduler))
    groups = copy.deepcopy(group_settings(optimizer))
    try:
        with warnings.catch_warnings():  # of schedules that are stepped before the optimiser
            warnings.simplefilter("ignore")
            yield
    finally:
        load_schedule_state(scheduler, state)
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(settings)


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Make a step with zero gradients and undo it, so that an unsuitable optimiser is refused.

    Raises:
        UserError: the optimiser needs a closure, as LBFGS, or sparse gradients, as SparseAdam.
    """
    name = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(
            f"{name} evaluates the loss several times in each step, which this training loop does "
            f"not do: use torch.optim.AdamW or another optimiser of one evaluation"
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    state = copy.deepcopy(optimizer.state_dict())
    kept = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    try:
        # Of the class: a schedule has put a counter before the method of the object.
        type(optimizer).step(optimizer)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{name} cannot make a step on this network ({' '.join(str(error).split())}): use "
            f"another optimiser or other optimizer_params"
        ) from error
    finally:
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():  # weight decay has changed them
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(state)


def check_single_row(model: nn.Module, hook: Any, batch: Batch, batch_size: int) -> None:
    """Try a batch of one row in training: batch norm may have no use for it.

    Args:
        model: its running statistics are put back.
        hook: knows which fields the network takes.
        batch: on the device, transformed.
        batch_size: of the fit, to advise another.

    Raises:
        UserError: the network cannot be trained on a single row.
    """
    buffers = [buffer.clone() for buffer in model.buffers()]
    model.train()
    try:
        with torch.no_grad():
            hook.forward_test(model, batch)
    except ValueError as error:  # torch's, of a batch norm with one value a channel
        raise UserError(
            f"the last batch of an epoch has a single row, which this network cannot be trained on "
            f"({first_line(error)}): choose another batch size, e.g. --set "
            f"batch_size={batch_size + 1}"
        ) from error
    finally:
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(value)
