"""The scores of an epoch: losses and metrics of its training pass and of its validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from runtime.console import LOGGER
from runtime.errors import UserError
from training.epoch_record import EpochRecord, mean_over_rows
from training.loss_by_step import group_losses


def score_training_pass(
    record: EpochRecord, metric: Callable | None, name: str, in_part: bool = False
) -> tuple[dict[str, float], tuple[list[int], list[float]]]:
    """Return the scores of the training pass, and its loss by step as `group_losses` has it.

    The scores are the mean training loss and, where targets were not mixed, the training score.

    Args:
        record: of the epoch; all processes must call this at once.
        metric: (target, logits) -> float; None scores nothing.
        name: of the fit, for warnings.
        in_part: see `compute_score`.
    """
    losses = record.gather_losses()
    scores = {"train_loss": mean_over_rows(*losses), "train_metric": math.nan}
    rows = record.scored_rows()
    if rows is not None and metric is not None:
        logits, targets = rows
        scores["train_metric"] = compute_score(metric, targets, logits, name, in_part)
    return scores, group_losses(*losses)


def score_validation(
    logits: Tensor,
    targets: Tensor,
    criterion: Callable,
    metric: Callable,
    monitors: Sequence[Any],
    name: str,
    in_part: bool = False,
) -> dict[str, float]:
    """Return the loss, the metric and the monitors of all validation rows.

    Args:
        logits, targets: (n, 1) each, of the whole validation set.
        monitors: more metrics, each with a `name`.
        name: of the fit, for warnings.
        in_part: see `compute_score`.
    """
    # Of all rows at once: a mean over batches would weigh the rows of the last one differently.
    scores = {
        "valid_loss": criterion(logits, targets).item(),
        "valid_metric": compute_score(metric, targets, logits, name, in_part),
    }
    for monitor in monitors:
        scores[f"valid_{monitor.name}"] = compute_score(monitor, targets, logits, name, in_part)
    return scores


def compute_score(
    metric: Callable, targets: Tensor, logits: Tensor, name: str, in_part: bool = False
) -> float:
    """Return a metric; NaN and a warning where it is undefined (one class, NaN logits).

    Args:
        in_part: these are a few of the samples, as in a dry run. That all are of one class is then
            no fault of the folds, and nothing is said of it.
    """
    if in_part and targets.shape[-1] == 1 and len(targets.round().unique()) < 2:
        return math.nan
    try:
        return float(metric(targets, logits))
    except UserError as error:
        LOGGER.warning(f"{name}: {error}")
        return math.nan
