"""NaN and infinity in a fit: the step is left out, and too many in a row end the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runtime.errors import UserError
from training import distributed
from training.precision import are_finite

if TYPE_CHECKING:
    from training.trainer import Batch, Trainer


class BadNumbers:
    """Looks at the losses and gradients of a fit and counts those that are no numbers.

    The counts live in the trainer's state, so that a resumed fit goes on counting.

    Args:
        limit: so many in a row end the fit.
        look_every: steps between two looks on a GPU, where each makes the host wait for the device.
        models: the network, and its average where there is one.
    """

    def __init__(self, limit: int, look_every: int, *models: nn.Module | None) -> None:
        self.limit, self.look_every = limit, look_every
        self.statistics = StatisticsGuard(*models)

    def loss_is_finite(self, trainer: Trainer, loss: Tensor, batch: Batch, last: bool) -> bool:
        """Whether to use this loss, the last of `trainer.epoch_losses`.

        On a CPU every loss is looked at. On a GPU they are looked at every `look_every` steps and
        in the last one of an epoch; the scaler leaves out steps with bad gradients by itself.

        Raises:
            UserError: it was the last of too many bad ones in a row.
        """
        finite, state = True, trainer.state
        if trainer.device.type == "cpu":
            # Of all processes: one that left the step out alone would leave the others waiting.
            finite = not distributed.any_of([not torch.isfinite(loss)], trainer.device)[0]
            state.bad_losses = 0 if finite else state.bad_losses + 1
            self.statistics.keep_or_restore(finite)
        elif (state.step + 1) % self.look_every == 0 or last:
            recent = torch.stack(trainer.epoch_losses[-(state.step % self.look_every + 1) :])
            good = torch.isfinite(recent).nonzero().flatten().tolist()
            self.statistics.keep_or_restore(len(good) == len(recent))
            before = 0 if good else state.bad_losses
            state.bad_losses = before + len(recent) - (good[-1] + 1 if good else 0)
        self.end_after("loss", state.bad_losses, trainer, batch)
        return finite

    def gradients_are_finite(self, trainer: Trainer, batch: Batch) -> bool:
        """Whether to make this step: also a finite loss may have no gradient, the root of nothing.

        On a GPU the scaler leaves such steps out, and they are looked at once in `look_every`
        steps.

        Raises:
            UserError: it was the last of too many bad ones in a row.
        """
        on_cpu, state = trainer.device.type == "cpu", trainer.state
        if not on_cpu and (state.step + 1) % self.look_every >= trainer.accumulate:
            return True
        # The processes have averaged theirs, so that they are the same.
        finite = are_finite(trainer.model.parameters())
        state.bad_gradients = 0 if finite else state.bad_gradients + 1
        self.end_after("gradient", state.bad_gradients, trainer, batch)
        return finite or not on_cpu

    def before_saving(self, trainer: Trainer) -> None:
        """Look at the losses that no look on a GPU has seen yet, so that no NaN is saved."""
        if trainer.device.type != "cpu":
            recent = torch.stack(trainer.epoch_losses[-self.look_every :])
            self.statistics.keep_or_restore(bool(recent.isfinite().all()))

    def end_after(self, what: str, times: int, trainer: Trainer, batch: Batch) -> None:
        """End the fit where a loss or a gradient was bad too often in a row."""
        if times < self.limit:
            return
        rows = batch["index"].tolist()
        ids = getattr(trainer.train_set, "ids", None)
        names = ", ".join(str(row if ids is None else ids[row]) for row in rows)
        kept = trainer.path("_last")
        raise UserError(
            f"the {what} of {trainer.serial} was NaN or infinite {times} times in a row, up to "
            f"epoch {trainer.state.epoch + 1}, step {trainer.state.step + 1}, with the samples "
            f"{names}; the last good checkpoint is {kept if kept.exists() else 'none yet'}: check "
            f"these samples, or lower the learning rate"
        )


class StatisticsGuard:
    """Takes back what a bad batch did to the running statistics of batch norm.

    Its step is left out, but the forward pass has already put its NaN into them, where it would
    stay: in every later validation and in the predictions.

    Args:
        models: networks, or None.
    """

    def __init__(self, *models: nn.Module | None) -> None:
        self.buffers = [
            buffer
            for model in models
            if model is not None
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._NormBase)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self.kept = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def keep_or_restore(self, good: bool) -> None:
        """Keep the statistics as they are; or, after a bad loss, give back those kept last."""
        if self.buffers:
            torch._foreach_copy_(
                *((self.kept, self.buffers) if good else (self.buffers, self.kept))
            )
