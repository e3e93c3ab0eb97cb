"""What a fit must remember to resume as if it had never stopped: into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runtime.errors import UserError
from training import distributed
from training.checkpoints import first_line, load_checkpoint
from training.epoch_record import EpochRecord


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
        history: the scores of each epoch.
        weights: content digest of the best weights, as saved.
        rows_per_batch: rows of all processes in a batch, which `step` counts.
        trained_from: digests of all that decided the weights; see experiments/fold_record.py.
        adjusted: which settings were changed on resuming, each with its epoch.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    best_score: float | None = None
    bad_losses: int = 0
    bad_gradients: int = 0
    finished: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    weights: str | None = None
    rows_per_batch: int | None = None
    trained_from: dict[str, Any] = field(default_factory=dict)
    adjusted: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class FitParts:
    """The objects that a fit changes, all of which have a `state_dict`; None where there is none.

    Attributes:
        amp_dtype: the type that is computed in; None is float32.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    scaler: torch.amp.GradScaler
    ema: Any
    callbacks: Sequence[Any]
    amp_dtype: torch.dtype | None


def pack_checkpoint(parts: FitParts, state: TrainerState, record: EpochRecord) -> dict[str, Any]:
    """Return tensors and plain types for a checkpoint; all processes must call it at once."""
    return {
        "model": parts.model.state_dict(),
        "ema": None if parts.ema is None else parts.ema.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scheduler": None if parts.scheduler is None else parts.scheduler.state_dict(),
        "scaler": parts.scaler.state_dict(),
        "amp_dtype": str(parts.amp_dtype),
        "callbacks": [callback.state_dict() for callback in parts.callbacks],
        "state": asdict(state),
        # The epoch so far, of each process.
        "of_ranks": distributed.gather_objects(record.to_checkpoint()),
    }


def restore_checkpoint(
    path: Path, parts: FitParts, device: torch.device
) -> tuple[TrainerState, EpochRecord]:
    """Put a checkpoint of `pack_checkpoint` back into the parts of a fit.

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
    here = (str(parts.amp_dtype), bool(parts.scaler.state_dict()))
    there = (content.get("amp_dtype", here[0]), bool(content.get("scaler")))
    if here != there:
        raise UserError(
            f"{path} was written by a run in {there[0]} on {'a GPU' if there[1] else 'a CPU'} and "
            f"this one computes in {here[0]} on {'a GPU' if here[1] else 'a CPU'} (None is "
            f"float32): resume on such a device, or start again without --resume"
        )
    try:
        parts.model.load_state_dict(content["model"])
        parts.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} belongs to another network or optimiser ({first_line(error)}): start again "
            f"without --resume"
        ) from error
    if parts.ema is not None:
        parts.ema.load_state_dict(content["ema"])
    if parts.scheduler is not None:
        parts.scheduler.load_state_dict(content["scheduler"])
    parts.scaler.load_state_dict(content["scaler"])
    for callback, saved in zip(parts.callbacks, content["callbacks"], strict=True):
        callback.load_state_dict(saved)
    record = EpochRecord.from_checkpoint(content["of_ranks"][distributed.rank()], device)
    return TrainerState(**content["state"]), record
