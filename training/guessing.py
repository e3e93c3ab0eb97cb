"""What guessing would score on a validation set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.errors import UserError


@dataclass(frozen=True)
class Guessing:
    """Scores of a network that gives every sample the same logit.

    Attributes:
        loss: the validation loss of the best such logit; ln 2 of cross-entropy, where half of the
            samples are signals.
        score: the validation score of equal logits; 0.5 of an AUC.
        spread: standard deviation of the AUC of random logits.
    """

    loss: float
    score: float
    spread: float


def score_guessing(targets: Tensor, criterion: Callable, metric: Callable) -> Guessing | None:
    """Return what guessing scores on these targets; None where there are not just two classes.

    Args:
        targets: (n, 1) of the validation set.
        criterion: (logits, targets) -> loss.
        metric: (targets, logits) -> float.
    """
    if targets.ndim > 1 and targets.shape[1] > 1:  # several outputs
        return None
    signals = int((targets == 1).sum())
    noise = int((targets == 0).sum())
    if not signals or not noise or signals + noise < targets.numel():
        return None
    # Cross-entropy is smallest for the log odds of the two classes. Other losses may be smaller
    # for equal odds.
    odds = math.log(signals / noise)
    guesses = [torch.full_like(targets, logit) for logit in {odds, 0.0}]
    try:
        score = float(metric(targets, guesses[0]))
    except UserError:  # the metric is not defined for equal logits, or for these classes
        score = math.nan
    return Guessing(
        loss=min(float(criterion(guess, targets)) for guess in guesses),
        score=score,
        # n AUC is the statistic U of Mann and Whitney, whose variance without ties is
        # n1 n0 (n1 + n0 + 1) / 12.
        spread=math.sqrt((signals + noise + 1) / (12 * signals * noise)),
    )
