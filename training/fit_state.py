"""What a fit must remember to resume as if it had never stopped: into a checkpoint and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import read_json_object
from training import distributed
from training.checkpoints import first_line, load_checkpoint
from training.epoch_record import EpochRecord
from training.schedules import group_settings, load_schedule_state, replay_schedule, schedule_state
from training.settings import Schedule


@dataclass
class TrainerState:
    """What a resumed fit must know besides tensors; plain types only.

    Attributes:
        epoch: epochs completed.
        step: batches done of the current epoch.
        best_epoch, best_score: of the weights that predictions are made with.
        bad_losses: non-finite losses in a row.
        bad_gradients: non-finite gradients in a row, of those that were checked.
        finished: whether the last epoch is done or a callback has stopped the fit.
        seconds: time spent so far.
        updates: optimiser steps made so far.
        learning_rate: of the last of them.
        history: the scores of each epoch.
        loss_by_step: the training loss within each epoch; see `loss_by_step.add_epoch`.
        weights: content digest of the best weights, as saved.
        rows_per_batch: rows of all processes in a batch, which `step` counts.
        trained_from: digests of all that decided the weights; see experiments/fold_record.py.
        adjusted: which settings were changed on resuming, each with its epoch.
        average: `epochs` whose weights were averaged at the end, with the scores of the mean; None
            of the weights of a single epoch.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    best_score: float | None = None
    bad_losses: int = 0
    bad_gradients: int = 0
    finished: bool = False
    seconds: float = 0.0
    updates: int | None = 0  # None: of a checkpoint older than the count
    learning_rate: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    loss_by_step: list[dict[str, Any]] = field(default_factory=list)
    weights: str | None = None
    rows_per_batch: int | None = None
    trained_from: dict[str, Any] = field(default_factory=dict)
    adjusted: list[dict[str, Any]] = field(default_factory=list)
    average: dict[str, Any] | None = None


@dataclass
class FitParts:
    """The objects that a fit changes, all of which have a `state_dict`; None where there is none.

    Attributes:
        amp_dtype: the type that is computed in; None is float32.
        beginning: optimiser settings and schedule before the first step, to see whether they have
            changed; see `describe_beginning`.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    scaler: torch.amp.GradScaler
    ema: Any
    callbacks: Sequence[Any]
    amp_dtype: torch.dtype | None
    beginning: str | None = None


def pack_checkpoint(parts: FitParts, state: TrainerState, record: EpochRecord) -> dict[str, Any]:
    """Return tensors and plain types for a checkpoint; all processes must call it at once."""
    return {
        "model": parts.model.state_dict(),
        "ema": None if parts.ema is None else parts.ema.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scheduler": schedule_state(parts.scheduler),
        "scaler": parts.scaler.state_dict(),
        "amp_dtype": str(parts.amp_dtype),
        "beginning": parts.beginning,
        "callbacks": [callback.state_dict() for callback in parts.callbacks],
        "state": asdict(state),
        # The epoch so far, of each process.
        "of_ranks": distributed.gather_objects(record.to_checkpoint()),
    }


def recorded_epochs(path: Path) -> int:
    """Return how many epochs fold<k>.json has; 0 where there is none."""
    return int(read_json_object(path).get("epoch", 0)) if path.exists() else 0


def restore_checkpoint(
    path: Path, parts: FitParts, schedule: Schedule, device: torch.device
) -> tuple[TrainerState, EpochRecord]:
    """Put a checkpoint of `pack_checkpoint` back into the parts of a fit.

    The type that is computed in, the learning rate and the schedule may have changed since: the
    new ones hold, and a new schedule continues at the place that the old one had reached.

    Args:
        parts: as they are before the first step of a fit.
        schedule: how the scheduler is stepped.

    Returns:
        How far the fit was, and what its current epoch had recorded.

    Raises:
        UserError: it is of another network or optimiser, or of another number of processes.
    """
    content = load_checkpoint(path, keys=("model", "optimizer", "state", "of_ranks"))
    if len(content["of_ranks"]) != distributed.world_size():
        raise UserError(
            f"{path} was written by {len(content['of_ranks'])} processes and this run has "
            f"{distributed.world_size()}: resume with as many as before"
        )
    fresh = copy.deepcopy(group_settings(parts.optimizer))
    try:
        parts.model.load_state_dict(content["model"])
        parts.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} belongs to another network or optimiser ({first_line(error)}): start again "
            f"in another run directory, --set name=NAME"
        ) from error
    if parts.ema is not None:
        parts.ema.load_state_dict(content["ema"])
    for callback, saved in zip(parts.callbacks, content["callbacks"], strict=True):
        callback.load_state_dict(saved)
    state = TrainerState(**{"updates": None, **content["state"]})
    restore_schedule(parts, schedule, state, content, fresh)
    restore_scaler(parts, content, path)
    record = EpochRecord.from_checkpoint(content["of_ranks"][distributed.rank()], device)
    return state, record


def restore_schedule(
    parts: FitParts,
    schedule: Schedule,
    state: TrainerState,
    content: Mapping[str, Any],
    fresh: Sequence[Mapping[str, Any]],
) -> None:
    """Restore the schedule, or bring a changed one to the place of the checkpoint.

    Args:
        content: of the checkpoint; the optimiser has taken up its part already.
        fresh: the optimiser's settings as this run would begin.
    """
    groups = parts.optimizer.param_groups
    for group, begins in zip(groups, fresh, strict=True):
        # These choose how a step is computed on this device. The checkpoint may be from another.
        group |= {key: begins[key] for key in ("foreach", "fused") if key in begins}
    place_step_counts(parts.optimizer)
    before = content.get("beginning")
    if before is None or before == parts.beginning:
        if parts.scheduler is not None:
            load_schedule_state(parts.scheduler, content["scheduler"])
        if state.updates is None:  # only of use to schedules that are stepped after each update
            state.updates = getattr(parts.scheduler, "last_epoch", 0) or 0
        return
    # Learning rate, weight decay and the like of this run; moments stay those of the checkpoint.
    for group, begins in zip(groups, fresh, strict=True):
        group.update(begins)
    if parts.scheduler is not None:
        replay_schedule(parts.scheduler, schedule, state.history, state.updates or 0)
    rates = ", ".join(f"{float(group['lr']):.3g}" for group in groups)
    LOGGER.info(
        f"learning rate or schedule differ from those of the checkpoint: they hold from epoch "
        f"{state.epoch + 1}, step {state.step + 1} on, beginning with a rate of {rates}"
    )


def place_step_counts(optimizer: torch.optim.Optimizer) -> None:
    """Put the counts of steps where the optimiser's way of stepping takes them.

    torch's fused and capturable steps count on the parameter's device, all others on the CPU.
    `load_state_dict` decides that by the settings of the checkpoint, which may be from another
    device.
    """
    optimizer = getattr(optimizer, "_base_optimizer", optimizer)  # of timm's Lookahead
    for group in optimizer.param_groups:
        on_device = bool(group.get("fused") or group.get("capturable"))
        for parameter in group["params"]:
            count = optimizer.state.get(parameter, {}).get("step")
            if isinstance(count, torch.Tensor):
                place = parameter.device if on_device else torch.device("cpu")
                optimizer.state[parameter]["step"] = count.to(place)


def restore_scaler(parts: FitParts, content: Mapping[str, Any], path: Path) -> None:
    """Restore the scale of the losses where it is of use: in the same type as before."""
    here, there = str(parts.amp_dtype), content.get("amp_dtype", str(parts.amp_dtype))
    if here != there:
        names = [name.replace("None", "float32").replace("torch.", "") for name in (there, here)]
        LOGGER.info(f"{path} was computed in {names[0]}; this run continues in {names[1]}")
    # Off on a CPU, where it has no state.
    elif parts.scaler.is_enabled() and content.get("scaler"):
        parts.scaler.load_state_dict(content["scaler"])
