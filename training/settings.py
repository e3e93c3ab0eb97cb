"""What a trainer is told, in groups that belong together; a config and the tests build them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from training.checkpoint_average import CheckpointAverage
from training.freezing import Freeze
from training.precision import check_clipping


@dataclass(frozen=True)
class Objective:
    """What is learnt, and how it is scored.

    Attributes:
        hook: turns a batch into logits and a loss; see `hooks.TrainHook`.
        criterion: (logits, target) -> scalar loss.
        metric: (target, logits) -> float, computed on a whole epoch.
        monitors: more metrics, each with a `name`; they are reported and decide nothing.
    """

    hook: Any
    criterion: Callable | None = None
    metric: Callable | None = None
    monitors: Sequence[Any] = ()


@dataclass(frozen=True)
class Schedule:
    """How long the fit lasts and how the learning rate changes on the way.

    Attributes:
        num_epochs: epochs in all.
        scheduler: built for the trainer's optimiser; None keeps the learning rate.
        batch_scheduler: step the scheduler after each optimiser step instead of after each epoch.
        scheduler_target: the score passed to the scheduler's `step`, e.g. 'valid_loss' for
            ReduceLROnPlateau.
        warmup_steps: first optimiser steps of the fit, whose learning rate rises to that of the
            scheduler.
        freeze: which parts of the network the first epochs leave as they are; None for none.

    Raises:
        UserError: no epoch, a negative warm-up, or a score is asked for after each step.
    """

    num_epochs: int = 1
    scheduler: Any = None
    batch_scheduler: bool = False
    scheduler_target: str | None = None
    warmup_steps: int = 0
    freeze: Freeze | None = None

    def __post_init__(self) -> None:
        check_at_least_one("num_epochs", self.num_epochs)
        if self.warmup_steps < 0:
            raise UserError(f"warmup_steps = {self.warmup_steps}: expected 0 or more")
        # ReduceLROnPlateau needs a score, and there is none between two epochs.
        if self.batch_scheduler and self.scheduler_target is not None:
            raise UserError("scheduler_target is known once an epoch: set batch_scheduler = False")


@dataclass(frozen=True)
class Loading:
    """How the rows of a data set become batches.

    Attributes:
        batch_size: rows of a batch, on each process.
        accumulate: batches of an optimiser step.
        num_workers: reader processes; 0 reads in this one.
        max_batches: end every epoch after this number of batches, for dry runs.

    Raises:
        UserError: a size below one.
    """

    batch_size: int
    accumulate: int = 1
    num_workers: int = 0
    max_batches: int | None = None

    def __post_init__(self) -> None:
        check_at_least_one("batch_size", self.batch_size)
        check_at_least_one("accumulate", self.accumulate)


@dataclass(frozen=True)
class Precision:
    """The type that is computed in, and what is done about gradients that are too large or NaN.

    Attributes:
        amp: False, True (bf16 where the GPU has it, else fp16 with a scaler; float32 on a CPU),
            or 'bf16' / 'fp16' by name.
        clip_grad: None, 'value', 'norm' or 'agc'; applied to unscaled gradients.
        max_grad_norm: the limit of the clipping.
        max_bad_losses: this number of non-finite losses, or gradients, in a row ends the fit.

    Raises:
        UserError: an unknown way of clipping or a limit that makes no sense.
    """

    amp: bool | str = False
    clip_grad: str | None = None
    max_grad_norm: float = 1.0
    max_bad_losses: int = 10

    def __post_init__(self) -> None:
        check_at_least_one("max_bad_losses", self.max_bad_losses)
        check_clipping(self.clip_grad, self.max_grad_norm)


@dataclass(frozen=True)
class Checkpointing:
    """Where checkpoints go: `folder/name.pt` (best) and `folder/name_last.pt` (to resume).

    Attributes:
        folder: the run directory.
        name: what is trained, e.g. 'fold0'; it also names the fit in the log.
        checkpoint_every: minutes between saves within an epoch.
        average: which epochs' weights are averaged at the end; None keeps those of the best.
    """

    folder: Path
    name: str
    checkpoint_every: float = 10.0
    average: CheckpointAverage | None = None

    @property
    def best_path(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def last_path(self) -> Path:
        return self.folder / f"{self.name}_last.pt"

    @property
    def history_path(self) -> Path:
        return self.folder / f"{self.name}.json"


@dataclass(frozen=True)
class Reporting:
    """What the fit says while it runs.

    Attributes:
        show_progress: draw progress bars; None draws them on a terminal only.
        log_every: steps between two readings of the loss, each of which waits for a GPU.
        log_steps: log loss and gradient norm as often, and not only after each epoch.
        watch: called with the `TrainerState` after each epoch; a text that it returns ends the fit,
            as the reason. It is no callback: no checkpoint holds anything of it.
    """

    show_progress: bool | None = None
    log_every: int = 50
    log_steps: bool = False
    watch: Callable[[Any], str | None] | None = None


def check_at_least_one(key: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{key} = {value}: expected 1 or more")
