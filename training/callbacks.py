"""Callbacks: after each epoch they decide whether to keep its weights and whether to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochVerdict:
    """What a callback says after an epoch.

    Attributes:
        is_best: save the weights of this epoch for the predictions.
        stop_reason: why the fit should stop; None to continue.
    """

    is_best: bool = False
    stop_reason: str | None = None


class EarlyStopping:
    """Remembers the best epoch and stops after `patience` epochs without a better one.

    Args:
        patience: epochs without improvement after which the fit stops.
        target: the score that counts, a key of the history.
        maximize: whether larger is better.
        skip_epoch: epochs at the start that do not count against the patience.
    """

    def __init__(
        self,
        patience: int = 5,
        target: str = "valid_metric",
        maximize: bool = False,
        skip_epoch: int = 0,
    ) -> None:
        self.patience, self.target, self.maximize = patience, target, maximize
        self.skip_epoch, self.counter = skip_epoch, 0

    def on_epoch_end(self, state: Any) -> EpochVerdict:
        """Judge the newest epoch of a `TrainerState`; note in it which epoch is the best."""
        score = state.history[-1][self.target]
        # A NaN compares as False either way; it is never an improvement.
        if not math.isnan(score) and (
            state.best_score is None
            or (score > state.best_score if self.maximize else score < state.best_score)
        ):
            state.best_score, state.best_epoch, self.counter = score, state.epoch, 0
            return EpochVerdict(is_best=True)
        if state.epoch > self.skip_epoch:
            self.counter += 1
        if self.counter < self.patience:
            return EpochVerdict()
        return EpochVerdict(
            stop_reason=f"stopped: {self.target} has not improved for {self.counter} epochs"
        )

    @property
    def has_stopped(self) -> bool:
        """Whether the patience is at its end; a resumed fit may have been given more of it."""
        return self.counter >= self.patience

    def state_dict(self) -> dict[str, int]:
        return {"counter": self.counter}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.counter = state["counter"]


class KeepLast:
    """Keeps the weights of the last epoch.

    For training that sees no sample twice and whose learning rate falls to nearly zero: nothing is
    overfitted, and the best of several validation scores would only be the luckiest.

    Args:
        target: the score that is reported with these weights, a key of the history.
    """

    def __init__(self, target: str = "valid_metric") -> None:
        self.target = target

    def on_epoch_end(self, state: Any) -> EpochVerdict:
        """Make the newest epoch of a `TrainerState` the best."""
        # there is no such score where nothing is validated
        state.best_score, state.best_epoch = state.history[-1].get(self.target), state.epoch
        return EpochVerdict(is_best=True)

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        pass  # there is nothing to remember
