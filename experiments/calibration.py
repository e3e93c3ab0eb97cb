"""How far the probabilities of a run hold: of samples given 0.8, are 80 % signals?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BINS = 10
NORMAL_95 = 1.959963984540054  # of a normal distribution, 95 % lie within so many deviations


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram in bins that hold equally many samples.

    Attributes:
        probability: (bins,) mean predicted probability of a signal.
        share: (bins,) share of signals.
        low, high: (bins,) the 95 % interval of the share.
        counts: (bins,) samples.
        gap: mean over all samples of |share - probability| of their bin, the expected calibration
            error; of perfect probabilities it is not 0 but about the half width of the intervals.
    """

    probability: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    gap: float


def measure_reliability(targets: np.ndarray, logits: np.ndarray, bins: int = BINS) -> Reliability:
    """Return the reliability diagram of (n,) finite logits.

    Args:
        targets: (n,) from 0 to 1, rounded.
        bins: fewer are made of fewer samples.
    """
    from scipy.special import expit

    order = np.argsort(logits, kind="stable")
    # Sorted, so that each part is a bin.
    probabilities = np.array_split(expit(logits[order].astype(np.float64)), min(bins, len(order)))
    signals = np.array_split(np.round(targets[order]) == 1, min(bins, len(order)))
    counts = np.array([len(part) for part in probabilities])
    probability = np.array([part.mean() for part in probabilities])
    share = np.array([part.mean() for part in signals])
    low, high = wilson_interval(share, counts)
    gap = float(np.average(np.abs(share - probability), weights=counts))
    return Reliability(probability, share, low, high, counts, gap)


def wilson_interval(share: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of shares (bins,) of counts (bins,) samples.

    That of Wilson 1927, Journal of the American Statistical Association 22, 209: unlike one of
    the standard error it is no point for a share of 0 or 1.
    """
    square = NORMAL_95**2
    centre = (share + square / (2 * counts)) / (1 + square / counts)
    spread = np.sqrt(share * (1 - share) / counts + square / (4 * counts**2))
    half = NORMAL_95 * spread / (1 + square / counts)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def calibration_words(gap: float, logits: np.ndarray, targets: np.ndarray) -> str:
    """Return what a diagram says in a line, e.g. 'mean gap 0.021, log loss 0.432'."""
    loss = log_loss(targets, logits)
    return f"mean gap {gap:.3f}" + (f", log loss {loss:.3f}" if math.isfinite(loss) else "")


def log_loss(targets: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean cross-entropy of (n,) logits; ln 2 for guessing among as many of both."""
    # -log σ(x) = log(1 + exp(-x)) for signals and log(1 + exp(x)) for noise
    signs = np.where(np.round(targets) == 1, -1.0, 1.0)
    return float(np.logaddexp(0, signs * logits.astype(np.float64)).mean())
