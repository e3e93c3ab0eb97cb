"""What is said of each epoch: a line in the log, and scores for the trackers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from runtime.console import LOGGER, format_seconds
from runtime.machine import memory_use
from training import distributed
from training.bad_run import FitFacts, explain_bad_run
from training.epoch_record import EpochRecord
from training.fit_state import TrainerState
from training.guessing import Guessing, score_guessing
from training.loss_by_step import loss_points


class EpochReporter:
    """Tells the log and the trackers of every epoch; only the first of several processes does.

    Args:
        name: of what is trained, e.g. 'fold0'.
        device: whose memory is said.

    Attributes:
        tracker: gets every score, `log_history(history, points)`; None for none.
        facts: what is known of the fit beside its scores; None for nothing.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.tracker: Any = None
        self.guessing: Guessing | None = None
        self.facts: FitFacts | None = None

    def note_targets(self, targets: Tensor, criterion: Callable, metric: Callable) -> None:
        """Score guessing on the targets (n, 1) of the validation set, once in this process."""
        if self.guessing is None:
            self.guessing = score_guessing(targets, criterion, metric)

    def report(
        self, state: TrainerState, num_epochs: int, is_best: bool, stop_reasons: Sequence[str]
    ) -> None:
        """Report the newest epoch.

        Args:
            state: how far the fit is; the epoch is counted in.
            num_epochs: of the whole fit.
            is_best: whether this epoch is the best so far.
            stop_reasons: why callbacks end the fit.
        """
        if not distributed.is_main():
            return
        memory = memory_use(self.device)
        LOGGER.info(format_epoch_line(self.name, state, num_epochs, is_best, memory))
        for reason in stop_reasons:
            LOGGER.info(f"{self.name}: {reason}")
        # After two epochs, soon enough to stop the run, and at its end, be that after the first.
        if len(state.history) == 2 or state.finished or state.epoch >= num_epochs:
            warning = explain_bad_run(state.history, self.guessing, self.facts, state.updates)
            if warning is not None:
                LOGGER.warning(f"{self.name}: {warning}")
        if self.tracker is not None:
            self.tracker.log_history(state.history, list(loss_points(state.loss_by_step)))

    def report_step(self, state: TrainerState, steps: int, record: EpochRecord) -> None:
        """Log the newest loss and gradient, each of which waits for a GPU.

        Args:
            steps: of the whole epoch.
        """
        norms = record.gradients.norms
        gradient = f", gradient={norms[-1].item():.2e}" if norms else ""
        LOGGER.info(
            f"{self.name} epoch {state.epoch + 1}, step {state.step}/{steps}: "
            f"loss={record.losses[-1].item():.4f}{gradient}"
        )

    def report_average(self, state: TrainerState) -> None:
        """Say what the mean of several epochs' weights scores beside the best single one."""
        if not distributed.is_main():
            return
        average = dict(state.average or {})
        epochs = ", ".join(map(str, average.pop("epochs")))
        scores = " | ".join(f"{key}={value:.6f}" for key, value in average.items())
        best = (
            ""
            if state.best_score is None
            else f" (best single epoch: {state.best_score:.6f}, epoch {state.best_epoch})"
        )
        LOGGER.info(f"{self.name}: weights are the mean of epochs {epochs} | {scores}{best}")


def format_epoch_line(
    name: str, state: TrainerState, num_epochs: int, is_best: bool, memory: str
) -> str:
    """Return what an epoch did, how long it took, and how much of the fold is left.

    Args:
        name: of what is trained, e.g. 'fold0'.
        state: how far the fit is; the epoch is counted in.
        is_best: whether this epoch is the best so far.
        memory: the memory used, as text.
    """
    scores = state.history[-1]
    items = [f"{name} epoch {state.epoch}/{num_epochs}"]
    items += [
        f"{key}={scores[key]:.6f}"
        for key in scores
        if key.startswith(("train_", "valid_")) and not key.endswith("_seconds")
    ]
    items.append(f"lr={scores['learning_rate']:.2e}")
    items.append(f"gradient={scores['gradient_norm']:.2e} ({scores['clipped_steps']:.0%} clipped)")
    # The share of the time that the loop waited for data: near 0 % the network is what is slow.
    data_share = scores["data_seconds"] / max(scores["train_seconds"], 1e-9)
    items.append(f"{format_seconds(scores['train_seconds'])} ({data_share:.0%} data)")
    items.append(f"{scores['samples_per_second']:,.0f} samples/s")
    if state.best_score is not None and not is_best:
        items.append(f"best={state.best_score:.6f} (epoch {state.best_epoch})")
    if state.epoch < num_epochs and not state.finished:
        seconds_left = state.seconds / state.epoch * (num_epochs - state.epoch)
        items.append(f"this fold: {format_seconds(seconds_left)} left")
    items.append(memory)
    return " | ".join(items)
