"""The scores of a run, computed here for summary.json, the report and the stack alike.

Every score is an AUC of logits in float64. Probabilities are for submissions only: in float32 every
logit above 17 becomes the probability 1, and samples that the network told apart are tied.
"""

from __future__ import annotations

import numpy as np

from metrics import AUC, delong_error
from runtime.errors import UserError


def aucs_by_fold(targets: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> dict[int, float]:
    """Return the AUC of each fold's validation rows; folds of one class have none.

    Args:
        targets, scores, folds: (n,) each, the scores finite.
    """
    aucs = {}
    for fold in np.unique(folds).tolist():
        rows = folds == fold
        if len(np.unique(np.round(targets[rows]))) == 2:
            aucs[fold] = AUC()(targets[rows], scores[rows])
    return aucs


def auc_with_error(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float | None]:
    """Return the AUC of (n,) scores and its standard error (DeLong's closed form).

    The error is None for a class with a single sample, whose spread is not known.

    Raises:
        UserError: as in `metrics.check_scores`.
    """
    auc = AUC()(targets, scores)
    try:
        return auc, delong_error(targets, scores)
    except UserError:  # the AUC has passed the other checks: a class has one sample
        return auc, None


def blend_folds(logits: np.ndarray) -> np.ndarray:
    """Return the log-odds (m,) of the mean over folds of the probabilities, in float64.

    With p = mean_k σ(x_k) and 1 − p = mean_k σ(−x_k), the log-odds are

        log p − log(1 − p) = log Σ_k σ(x_k) − log Σ_k σ(−x_k)

    from log σ(x) = −log(1 + exp(−x)), without ever forming p: p itself rounds to 1 for logits
    above 37 in float64. The log-odds order the samples as p does, and never saturate.

    Args:
        logits: (folds, m) finite logits.
    """
    logits = logits.astype(np.float64)
    log_p = -np.logaddexp(0, -logits)  # log σ(x), (folds, m)
    log_q = -np.logaddexp(0, logits)  # log σ(−x)
    return np.logaddexp.reduce(log_p, 0) - np.logaddexp.reduce(log_q, 0)  # (folds, m) -> (m,)


def ordered_probabilities(log_odds: np.ndarray) -> np.ndarray:
    """Return the probabilities (m,) of log-odds, larger ones for larger log-odds without exception.

    Where float64 would round two different log-odds to one probability, the neighbouring numbers
    below (or, next to 0, above) are used. That changes a probability by a few 1e-16, and the AUC of
    a submission is exactly that of the log-odds.

    Args:
        log_odds: (m,) finite numbers.

    Returns:
        float64 from 0 to 1.
    """
    from scipy.special import expit

    distinct, place = np.unique(log_odds, return_inverse=True)
    # Floats of one sign are ordered as their bits are when read as integers, and consecutive
    # integers are neighbouring floats. So make the integers strictly increasing:
    bits = expit(distinct).view(np.int64)
    steps = np.arange(len(bits))
    # b_i = min over j >= i of (bits_j − (j − i)): from the top down, each below the next
    bits = np.minimum.accumulate((bits - steps)[::-1])[::-1] + steps
    # b_i = max over j <= i of (b_j + (i − j)), from 0 upwards: those that fell below 0
    bits = np.maximum.accumulate(np.maximum(bits, 0) - steps) + steps
    return bits.view(np.float64)[place]


def roc_corners(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the ROC curve: false-alarm probabilities and efficiencies, (n,) each.

    Args:
        targets, scores: (n,) each; targets are rounded to 0 or 1.
    """
    from sklearn.metrics import roc_curve

    false_alarms, efficiency, _ = roc_curve(np.round(targets), scores)
    return false_alarms, efficiency
