"""What a fit must know to go on as if it had never stopped: taken out of a trainer, put back in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from runtime.errors import UserError
from training import distributed
from training.checkpoints import load_checkpoint

if TYPE_CHECKING:
    from training.trainer import Trainer


@dataclass
class TrainerState:
    """All that a resumed fit must know beside tensors; plain types only."""

    epoch: int = 0  # epochs completed
    step: int = 0  # batches done of the running epoch
    best_epoch: int | None = None
    best_score: float | None = None
    bad_losses: int = 0  # non-finite losses in a row
    bad_gradients: int = 0  # likewise, of those looked at
    finished: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    # The rest says what the weights are; experiments/fold_record.py reads it.
    weights: str | None = None  # content digest of the best weights, as they lie on disk
    rows_per_batch: int | None = None  # of all processes: what `step` counts
    trained_from: dict[str, Any] = field(default_factory=dict)  # digests of all that decided them
    adjusted: list[dict[str, Any]] = field(default_factory=list)  # other settings, from an epoch on


def pack(trainer: Trainer) -> dict[str, Any]:
    """Return tensors and plain types for a checkpoint; all processes call it at once."""
    losses = torch.empty(0)
    if trainer.epoch_losses:
        losses = torch.stack(trainer.epoch_losses).cpu()
    outputs = [(a.cpu(), b.cpu()) for a, b in trainer.epoch_outputs]
    scheduler, ema = trainer.scheduler, trainer.ema
    return {
        "model": trainer.model.state_dict(),
        "ema": None if ema is None else ema.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "amp_dtype": str(trainer.amp_dtype),
        "callbacks": [callback.state_dict() for callback in trainer.callbacks],
        "state": asdict(trainer.state),
        # (losses, [(outputs, targets)]) of the epoch so far, of each process
        "of_ranks": distributed.gather_objects((losses, outputs)),
    }


def unpack(trainer: Trainer, path: Path) -> None:
    """Put a checkpoint of `pack` back.

    Raises:
        UserError: it is of another network or optimiser, or of another number of processes.
    """
    content = load_checkpoint(path, keys=("model", "optimizer", "state", "of_ranks"))
    if len(content["of_ranks"]) != distributed.world_size():
        raise UserError(
            f"{path} was written by {len(content['of_ranks'])} processes and this run has "
            f"{distributed.world_size()}: go on with as many as before"
        )
    here = (str(trainer.amp_dtype), bool(trainer.scaler.state_dict()))
    there = (content.get("amp_dtype", here[0]), bool(content.get("scaler")))
    if here != there:
        raise UserError(
            f"{path} was written by a run in {there[0]} on {'a GPU' if there[1] else 'a CPU'} and "
            f"this one computes in {here[0]} on {'a GPU' if here[1] else 'a CPU'} (None is "
            f"float32): go on on such a device, or start anew without --resume"
        )
    try:
        trainer.model.load_state_dict(content["model"])
        trainer.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{path} belongs to another network or optimiser ({str(error).splitlines()[0]}): start "
            f"anew without --resume"
        ) from error
    if trainer.ema is not None:
        trainer.ema.load_state_dict(content["ema"])
    if trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(content["scheduler"])
    trainer.scaler.load_state_dict(content["scaler"])
    for callback, state in zip(trainer.callbacks, content["callbacks"], strict=True):
        callback.load_state_dict(state)
    trainer.state = TrainerState(**content["state"])
    losses, outputs = content["of_ranks"][distributed.rank()]
    trainer.epoch_losses = list(losses.to(trainer.device))
    trainer.epoch_outputs = [(a.to(trainer.device), b.to(trainer.device)) for a, b in outputs]
