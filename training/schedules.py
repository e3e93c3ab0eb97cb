"""Learning-rate schedules of torch and of timm: stepped alike, and replayed where they changed."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.settings import Schedule

# Arguments that say after how many steps a schedule ends; see `fill_in_length`.
LENGTHS = ("T_0", "T_max", "t_initial", "total_steps")


def fill_in_length(
    cls: type, params: Mapping[str, Any], num_epochs: int, updates_per_epoch: int, per_update: bool
) -> dict[str, Any]:
    """Return the arguments of a schedule, with its length where the config leaves it out.

    So a schedule lasts as long as the fit, also when `num_epochs` or the batch size is changed.

    Args:
        cls: the schedule's class, of torch, of timm, or `WarmupCosine`.
        params: what the config says; it is never overruled.
        num_epochs: epochs of the fit.
        updates_per_epoch: optimiser steps in an epoch.
        per_update: whether the schedule is stepped after each optimiser step (`batch_scheduler`).
    """
    params, accepted = dict(params), inspect.signature(cls).parameters
    # OneCycleLR has two ways to say its length.
    if "steps_per_epoch" in accepted and {"epochs", "steps_per_epoch"} & params.keys():
        params.setdefault("epochs", num_epochs)
        params.setdefault("steps_per_epoch", updates_per_epoch if per_update else 1)
        return params
    # timm's schedules do not follow `batch_scheduler`, but an argument of their own.
    per_update = not params["t_in_epochs"] if "t_in_epochs" in params else per_update
    steps = num_epochs * updates_per_epoch if per_update else num_epochs
    return {name: steps for name in LENGTHS if name in accepted} | params


def share_maximum(params: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the arguments of a schedule with its own rates scaled for each group of parameters.

    OneCycleLR and CyclicLR take their rates from their arguments instead of the optimiser, so that
    the factors of the groups would be lost.
    """
    factors = [group.get("rate_factor", 1.0) for group in optimizer.param_groups]
    if all(factor == 1.0 for factor in factors):
        return dict(params)
    return {
        key: [value * factor for factor in factors]
        if key in ("max_lr", "base_lr") and isinstance(value, int | float)
        else value
        for key, value in params.items()
    }


def schedule_state(scheduler: Any) -> dict[str, Any] | None:
    """Return all that a schedule must be given back, as tensors and plain types.

    timm's PlateauLRScheduler leaves out of its own state how long the score has not improved, so
    that a resumed fit would lower the learning rate later than an unbroken one.
    """
    if scheduler is None:
        return None
    state = dict(scheduler.state_dict())
    if type(scheduler).__name__ == "PlateauLRScheduler":
        state["plateau"] = scheduler.lr_scheduler.state_dict()
        state["restore_lr"] = scheduler.restore_lr
    return state


def load_schedule_state(scheduler: Any, state: Mapping[str, Any]) -> None:
    """Give a schedule back what `schedule_state` returned."""
    state = dict(state)
    plateau = state.pop("plateau", None)
    noisy = state.pop("restore_lr", None)
    scheduler.load_state_dict(state)
    # None: of a checkpoint that is older than these entries
    if plateau is not None:
        scheduler.lr_scheduler.load_state_dict(plateau)
        scheduler.restore_lr = noisy


def is_of_timm(scheduler: Any) -> bool:
    """Whether a scheduler is stepped as those of timm: with counts, by epoch and by update."""
    return hasattr(scheduler, "step_update")


def needs_score(scheduler: Any) -> bool:
    """Whether a scheduler must be given a score, as ReduceLROnPlateau must."""
    return takes_score(scheduler) and (
        not is_of_timm(scheduler) or type(scheduler).__name__ == "PlateauLRScheduler"
    )


def takes_score(scheduler: Any) -> bool:
    # torch's own `step(epoch=None)` would take a score for the number of an epoch.
    return bool({"metric", "metrics"} & inspect.signature(scheduler.step).parameters.keys())


def step_after_update(scheduler: Any, schedule: Schedule, updates: int) -> None:
    """Step a schedule after an optimiser step.

    Args:
        scheduler: of torch or of timm; None for a constant learning rate.
        schedule: how it is stepped.
        updates: optimiser steps made so far.
    """
    if scheduler is None:
        return
    if is_of_timm(scheduler):
        # timm's schedules know themselves (`t_in_epochs`) which of the two counts they follow.
        scheduler.step_update(updates)
    elif schedule.batch_scheduler:
        scheduler.step()


def step_after_epoch(
    scheduler: Any, schedule: Schedule, epoch: int, scores: Mapping[str, float]
) -> None:
    """Step a schedule after an epoch.

    Args:
        scheduler, schedule: as for `step_after_update`.
        epoch: epochs completed.
        scores: of the newest of them.
    """
    if scheduler is None:
        return
    score = None if schedule.scheduler_target is None else scores[schedule.scheduler_target]
    if is_of_timm(scheduler):
        scheduler.step(epoch, score)
    elif schedule.batch_scheduler:
        return
    elif score is not None:
        scheduler.step(score)
    else:
        scheduler.step()


# --- settings that change between a checkpoint and its resumption ------------------------------


def group_settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each group of parameters: learning rate, weight decay, and so on."""
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def describe_beginning(optimizer: torch.optim.Optimizer | None, scheduler: Any) -> str | None:
    """Return optimiser settings and schedule before the first step, as text that can be compared.

    A resumed run whose text is another has another learning rate or schedule than its checkpoint.
    """
    if optimizer is None:
        return None
    # How the optimiser computes differs between devices and changes nothing here.
    implementation = {"foreach", "fused", "capturable", "differentiable"}
    groups = [
        {key: value for key, value in group.items() if key not in implementation}
        for group in group_settings(optimizer)
    ]
    schedule = None if scheduler is None else [type(scheduler).__name__, schedule_state(scheduler)]
    return json.dumps([groups, schedule], sort_keys=True, default=describe_value)


def describe_value(value: Any) -> Any:
    """Return what JSON has no type for: tensors as numbers, other objects as their class."""
    return value.tolist() if torch.is_tensor(value) else type(value).__name__


def replay_schedule(
    scheduler: Any, schedule: Schedule, history: Sequence[Mapping[str, float]], updates: int
) -> None:
    """Bring a new schedule to where an earlier one was: after these epochs and optimiser steps."""
    with warnings.catch_warnings():  # of schedules that are stepped before the optimiser
        warnings.simplefilter("ignore")
        for number in range(1, updates + 1):
            step_after_update(scheduler, schedule, number)
        for epoch, scores in enumerate(history, start=1):
            step_after_epoch(scheduler, schedule, epoch, scores)
