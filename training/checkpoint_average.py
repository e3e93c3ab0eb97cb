"""The mean of the weights of several epochs of one fit, in place of those of a single one.

After Izmailov et al. 2018 (arXiv:1803.05407), who average epochs of a cyclical or constant rate.
Each chosen epoch's weights lie in `fold<k>_epoch<n>.pt` beside the other checkpoints. They are
written once, and removed when another epoch takes their place; those that were averaged stay.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from runtime.errors import UserError, check_choice
from training.checkpoints import load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class CheckpointAverage:
    """Averages the weights of the best, or of the last, epochs when the fit ends.

    Args:
        count: how many epochs.
        which: 'best' by a score, or 'last'.
        target: the score, a key of the history.
        maximize: whether larger is better.

    Raises:
        UserError: fewer than two epochs, or an unknown choice.
    """

    count: int = 3
    which: str = "best"
    target: str = "valid_metric"
    maximize: bool = True

    def __post_init__(self) -> None:
        if self.count < 2:
            raise UserError(f"CheckpointAverage: count = {self.count}: expected 2 or more")
        check_choice("CheckpointAverage", "which", self.which, ("best", "last"))

    def choose(self, history: Sequence[Mapping[str, float]]) -> list[int]:
        """Return the epochs to average, from 1 and ascending, of those in a history."""
        epochs = list(range(1, len(history) + 1))
        if self.which == "best":
            # A NaN is worse than any score. Of equal ones the later counts, so that these are the
            # last where nothing is validated.
            epochs.sort(key=lambda epoch: (self.rank(history[epoch - 1]), epoch))
        return sorted(epochs[-self.count :])

    def rank(self, scores: Mapping[str, float]) -> float:
        score = scores.get(self.target, math.nan)  # without validation there is none
        if math.isnan(score):
            return -math.inf
        return score if self.maximize else -score


class EpochFiles:
    """The weights of the epochs that are to be averaged, beside fold<k>.pt.

    Args:
        average: which epochs; None keeps none.
        best: the path of fold<k>.pt.
    """

    def __init__(self, average: CheckpointAverage | None, best: Path) -> None:
        self.average, self.best = average, best

    def path(self, epoch: int) -> Path:
        return self.best.with_name(f"{self.best.stem}_epoch{epoch}.pt")

    def keep_newest(self, history: Sequence[Mapping[str, float]], model: nn.Module) -> None:
        """Write the weights of the newest epoch where it is one of those to average."""
        if self.average is not None and len(history) in self.average.choose(history):
            save_checkpoint(self.path(len(history)), {"model": model.state_dict()})

    def remove_others(self, history: Sequence[Mapping[str, float]]) -> None:
        """Remove the weights of epochs that will not be averaged."""
        if self.average is None:
            return
        chosen = {self.path(epoch) for epoch in self.average.choose(history)}
        pattern = re.compile(rf"{re.escape(self.best.stem)}_epoch\d+\.pt")
        for path in self.best.parent.iterdir():
            if pattern.fullmatch(path.name) and path not in chosen:
                path.unlink(missing_ok=True)

    def mean(self, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the mean of the weights and statistics of some epochs, on the CPU.

        It is summed in float64 and rounded once. Whole numbers, such as the counts of batch norm,
        are those of the last epoch.

        Raises:
            UserError: the file of an epoch is missing or damaged.
        """
        sums: dict[str, Tensor] = {}
        for epoch in sorted(epochs):
            weights = load_checkpoint(self.path(epoch))["model"]
            for name, value in weights.items():
                if not value.is_floating_point():
                    sums[name] = value
                elif name in sums:
                    sums[name] += value.double()
                else:
                    sums[name] = value.double()
        return {
            name: (total / len(epochs)).to(weights[name].dtype)
            if weights[name].is_floating_point()
            else total
            for name, total in sums.items()
        }


@contextlib.contextmanager
def borrowed_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a network other weights and statistics for a block, and its own ones back."""
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(dict(weights))
    try:
        yield
    finally:
        model.load_state_dict(own)
