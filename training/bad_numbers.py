"""NaN and infinity in a fit: such a step is skipped, and too many in a row end the fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import distributed
from training.fit_state import TrainerState
from training.precision import are_finite


class BadNumbers:
    """Checks the losses and gradients of a fit and counts those that are NaN or infinite.

    The counts are kept in the state of the fit, so that a resumed fit continues to count.

    Args:
        look_every: steps between two checks on a GPU, where each makes the host wait for it.
        device: where the fit computes.
        models: the network, and its weight average where there is one.
    """

    def __init__(
        self, look_every: int, device: torch.device, models: Sequence[nn.Module | None]
    ) -> None:
        self.look_every, self.device = look_every, device
        self.statistics = StatisticsGuard(models)

    def loss_is_usable(self, losses: Sequence[Tensor], state: TrainerState, last: bool) -> bool:
        """Return whether to train on the newest loss, and update `state.bad_losses`.

        On a CPU every loss is checked. On a GPU they are checked every `look_every` steps and in
        the last step of an epoch; in between, the scaler skips steps with bad gradients by itself.

        Args:
            losses: those of the epoch so far, the newest last.
            state: how far the fit is; `step` is the step of the newest loss.
            last: whether it is the last step of the epoch.
        """
        if self.device.type == "cpu":
            # All processes decide alike: one that skipped a step alone would keep the others
            # waiting for its gradients.
            is_bad = not torch.isfinite(losses[-1])
            usable = not distributed.any_of([is_bad], self.device)[0]
            state.bad_losses = 0 if usable else state.bad_losses + 1
            self.statistics.keep_or_restore(good=usable)
            return usable
        if (state.step + 1) % self.look_every == 0 or last:
            # Those since the last check; an epoch begins with a check behind it.
            unseen = losses[-(state.step % self.look_every + 1) :]
            is_bad = self.bad_in_any_process(unseen)
            self.statistics.keep_or_restore(good=not any(is_bad))
            bad_at_the_end = len(list(itertools.takewhile(bool, reversed(is_bad))))
            bad_before = state.bad_losses if all(is_bad) else 0
            state.bad_losses = bad_before + bad_at_the_end
        return True

    def bad_in_any_process(self, losses: Sequence[Tensor]) -> list[bool]:
        """Return for each loss whether that of any process is NaN or infinite; all ask at once.

        A process that counted its own losses alone would end the fit alone, and the others would
        wait for its gradients.
        """
        return distributed.any_of(~torch.isfinite(torch.stack(list(losses))), self.device)

    def gradients_are_usable(
        self,
        parameters: Iterable[nn.Parameter],
        norm: torch.Tensor,
        state: TrainerState,
        accumulate: int,
    ) -> bool:
        """Return whether to make this optimiser step, and update `state.bad_gradients`.

        A finite loss may have a NaN gradient, as the root of zero has. On a GPU the scaler skips
        such steps, and they are counted at one step in `look_every`.

        Args:
            parameters: with gradients.
            norm: of all gradients, as `gradient_norm` returns it.
            state: its counts are updated.
            accumulate: batches of a step.
        """
        on_cpu = self.device.type == "cpu"
        if not on_cpu and (state.step + 1) % self.look_every >= accumulate:
            return True
        # No need to ask other processes: the gradients are averaged, and so the same in all.
        finite = are_finite(parameters, norm)
        state.bad_gradients = 0 if finite else state.bad_gradients + 1
        return finite or not on_cpu

    def check_before_saving(self, losses: Sequence[Tensor]) -> None:
        """Check the losses that no check on a GPU has seen yet, so that no NaN is saved."""
        if self.device.type != "cpu":
            is_bad = self.bad_in_any_process(losses[-self.look_every :])
            self.statistics.keep_or_restore(good=not any(is_bad))


def name_samples(data: Any, rows: Sequence[int]) -> str:
    """Return the ids of rows of a data set; their numbers where it has no ids."""
    # Names, not row numbers: the user has to find the samples in the table.
    ids = getattr(data, "ids", None)
    return ", ".join(str(row if ids is None else ids[row]) for row in rows)


def explain_bad_numbers(
    what: str, times: int, name: str, state: TrainerState, samples: str, kept: Path
) -> str:
    """Return what happened before a fit was ended, up to where advice follows.

    Args:
        what: 'loss' or 'gradient'.
        times: how often in a row it was bad.
        name: of the fit.
        state: how far the fit is.
        samples: of the last batch.
        kept: where the last checkpoint lies, if there is one.
    """
    return (
        f"the {what} of {name} was NaN or infinite {times} times in a row, up to "
        f"epoch {state.epoch + 1}, step {state.step + 1}, with the samples "
        f"{samples}; the last good checkpoint is {kept if kept.exists() else 'none yet'}: check "
        f"these samples; or "
    )


def advise_lower_rate(optimizer: torch.optim.Optimizer, amp_dtype: torch.dtype | None) -> str:
    """Return what to try after too many bad numbers, as options that can be typed.

    Args:
        optimizer: its settings say which learning rate the config gives.
        amp_dtype: the type that is computed in; None is float32.
    """
    group = optimizer.param_groups[0]
    # OneCycleLR takes its own maximum instead of the optimiser's rate.
    key = "scheduler_params.max_lr" if "max_lr" in group else "optimizer_params.lr"
    rate = float(group.get("max_lr", group.get("initial_lr", group["lr"])))
    advice = f"lower the learning rate, --resume --set {key}={rate / 3:.2g}"
    if amp_dtype is not None:
        advice += ", or compute in float32, --resume --set amp=false"
    return advice


class StatisticsGuard:
    """Undoes what a bad batch did to the running statistics of batch norm.

    The optimiser step of a bad batch is skipped, but its forward pass has already put NaN into the
    running statistics, where it would stay: in every later validation and in the predictions.

    Args:
        models: networks; None is passed over.
    """

    def __init__(self, models: Iterable[nn.Module | None]) -> None:
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
    def keep_or_restore(self, *, good: bool) -> None:
        """Keep a copy of the statistics; after a bad loss, restore the last copy instead."""
        if self.buffers:
            source, target = (self.buffers, self.kept) if good else (self.kept, self.buffers)
            torch._foreach_copy_(target, source)
