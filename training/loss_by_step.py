"""The training loss within an epoch, in groups of consecutive steps: a curve of bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

MOST_GROUPS = 50  # of an epoch
DIGITS = 6  # of a loss that is kept: those of the log


def group_losses(losses: Tensor, rows: Tensor) -> tuple[list[int], list[float]]:
    """Return the last step of each group, from 1, and the mean loss over the rows of the group.

    An epoch of at most `MOST_GROUPS` steps has a group for each. NaN is a group whose losses are
    all NaN or infinite; single ones are left out, as they are of the training.

    Args:
        losses: (processes, steps), the mean loss of each batch, on the CPU.
        rows: (processes, steps), how many rows each of these means is of.
    """
    steps = losses.shape[1]
    groups = min(steps, MOST_GROUPS)
    ends = [steps * (group + 1) // groups for group in range(groups)]
    finite = losses.isfinite()
    counted = torch.where(finite, rows, 0)
    # in float64: a sum over many rows, and 0 · NaN would be NaN
    weighed = torch.where(finite, losses, 0).double() * counted
    means, start = [], 0
    for end in ends:
        total = counted[:, start:end].sum().item()
        mean = weighed[:, start:end].sum().item() / total if total else math.nan
        means.append(float(f"{mean:.{DIGITS}g}"))
        start = end
    return ends, means


def add_epoch(
    epochs: list[dict[str, Any]], epoch: int, steps: list[int], losses: list[float]
) -> None:
    """Add an epoch to the curve of a fit, which a checkpoint keeps.

    Args:
        epochs: of the curve so far; epochs of an earlier version are not in it.
        epoch: its number, from 1.
        steps, losses: as `group_losses` returns them.
    """
    known = sum(entry["steps"][-1] for entry in epochs)
    missing = epoch - 1 - len(epochs)
    before = known + missing * steps[-1]  # those that are missing count as if they were as long
    epochs.append({"epoch": epoch, "before": before, "steps": steps, "losses": losses})


def loss_points(epochs: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """Yield the points of the curve, as loss_by_step.csv and the trackers have them.

    Args:
        epochs: as `add_epoch` leaves them.

    Returns:
        `epoch`: epochs done, with the part of the one under way; `step`: batches since the fit
        began; `train_loss`: the mean since the point before.
    """
    for entry in epochs:
        for step, loss in zip(entry["steps"], entry["losses"], strict=True):
            yield {
                "epoch": round(entry["epoch"] - 1 + step / entry["steps"][-1], 6),
                "step": entry["before"] + step,
                "train_loss": loss,
            }
