"""Metrics of scores: area under the ROC curve, its error, efficiency at a false-alarm rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UserError

Float64 = NDArray[np.float64]


def as_numpy(values: Any) -> np.ndarray:
    """Return an array on the CPU for a torch tensor of any device, a numpy array or a list."""
    if hasattr(values, "detach"):
        # bfloat16 has no numpy counterpart, and float64 holds every other type exactly
        values = values.detach().double().cpu()
    return np.asarray(values, dtype=np.float64)


def check_scores(targets: Any, scores: Any) -> tuple[NDArray[np.bool_], Float64]:
    """Return targets as booleans and scores as float64, both of shape (n,).

    Args:
        targets: (n,) or (n, 1), numbers from 0 to 1. They are rounded, so that soft labels can be
            scored.
        scores: (n,), (n, 1), or (n, 2), of which the second column counts. Logits or
            probabilities: only their order matters.

    Raises:
        UserError: the shapes do not fit, there is a NaN, a target does not round to 0 or 1, or
            there is only one class.
    """
    targets, scores = as_numpy(targets), as_numpy(scores)
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    # (n, 1) -> (n,)
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    scores = scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores
    if targets.ndim != 1 or scores.shape != targets.shape:
        raise UserError(
            f"a metric got targets of shape {targets.shape} and scores of shape {scores.shape}: "
            "expected (n,) or (n, 1) for both, or (n, 2) for the scores"
        )
    for name, values in (("score", scores), ("target", targets)):
        bad = int(np.isnan(values).sum())
        if bad:
            raise UserError(
                f"{bad} of {values.size} {name}s are NaN, so there is no metric: lower the "
                "learning rate or turn mixed precision off if a model gave them, and look for "
                "missing folds if a file did"
            )
    # Soft labels are scored as the class that they are closer to.
    rounded = np.round(targets)
    if not np.isin(rounded, (0.0, 1.0)).all():
        raise UserError(
            f"targets range from {targets.min():g} to {targets.max():g}: expected 0 to 1"
        )
    labels = rounded == 1.0
    signals = int(labels.sum())
    if signals in (0, labels.size):
        raise UserError(
            f"the {labels.size} targets hold {signals} signals and {labels.size - signals} noise "
            "samples: the metric is undefined without both, so give more data or stratified folds"
        )
    return labels, scores


def midranks(values: Float64) -> Float64:
    """Return the ranks from 1 to n of (n,) values; equal values get the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # a group of c equal values has the ranks last − c + 1 ... last
    # the mean of these ranks is last − (c − 1) / 2; group leads back to the order of the values
    return (last - 0.5 * (counts - 1))[group]


class AUC:
    """Area under the ROC curve, in float64.

    It is the probability that a signal scores above a noise sample, ties counting one half. With
    R the sum of the mid-ranks of the s signals among all samples, the number of pairs that a
    signal wins is U = R − s (s + 1) / 2 (Mann and Whitney 1947), out of s · noise pairs.

    >>> AUC()([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """

    name = "auc"
    maximize = True

    def __call__(self, targets: Any, scores: Any) -> float:
        """Return the area; arguments and errors as in `check_scores`."""
        labels, scores = check_scores(targets, scores)
        signals = int(labels.sum())
        rank_sum = midranks(scores)[labels].sum()
        return float((rank_sum - signals * (signals + 1) / 2) / (signals * (labels.size - signals)))


def placements(targets: Any, scores: Any) -> tuple[Float64, Float64]:
    """Return the share of noise below each signal, and of signals above each noise sample.

    The mean of either is the AUC. Reference: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44,
    837, by the mid-ranks of Sun and Xu 2014, IEEE Signal Processing Letters 21, 1389. Cost
    O(n log n).

    Raises:
        UserError: as in `check_scores`, or fewer than two samples of a class.
    """
    labels, scores = check_scores(targets, scores)
    signals, noise = int(labels.sum()), int((~labels).sum())
    if min(signals, noise) < 2:
        raise UserError(
            f"{signals} signals and {noise} noise samples: the error of an AUC needs two of each"
        )
    ranks = midranks(scores)
    # Its rank among all less its rank among signals is the number of noise samples below it.
    of_signal = (ranks[labels] - midranks(scores[labels])) / noise
    of_noise = 1.0 - (ranks[~labels] - midranks(scores[~labels])) / signals
    return of_signal, of_noise


def delong_error(targets: Any, scores: Any) -> float:
    """Return the standard error of the AUC in closed form, from the spread of the `placements`."""
    return mean_error(*placements(targets, scores))


def paired_delong_error(targets: Any, first: Any, second: Any) -> float:
    """Return the standard error of the difference of two AUCs on the same samples.

    Samples that both scores find equally easy or hard do not contribute. Reference: DeLong et al.
    1988, equation 7.
    """
    pairs = zip(placements(targets, first), placements(targets, second), strict=True)
    return mean_error(*(one - other for one, other in pairs))


def mean_error(of_signal: Float64, of_noise: Float64) -> float:
    """Return the standard error of an AUC from its placements, √(var_s / s + var_n / n)."""
    return float(
        np.sqrt(of_signal.var(ddof=1) / of_signal.size + of_noise.var(ddof=1) / of_noise.size)
    )


def bootstrap_error(targets: Any, scores: Any, n: int = 200, seed: int = 0) -> float:
    """Return the standard deviation of the AUC over `n` bootstrap samples.

    Signals and noise are resampled separately, with replacement, so that neither can be absent.
    The scores are sorted once; each resample then only counts them, at a cost of O(n).

    Raises:
        UserError: as in `check_scores`, or n below 2.
    """
    if n < 2:
        raise UserError(f"n = {n}: a bootstrap needs at least 2 samples")
    labels, scores = check_scores(targets, scores)
    _, group = np.unique(scores, return_inverse=True)
    groups = int(group.max()) + 1
    of_signal, of_noise = group[labels], group[~labels]
    generator = np.random.default_rng(seed)

    def resample(members: NDArray[np.intp]) -> NDArray[np.int64]:
        drawn = members[generator.integers(0, members.size, members.size)]
        return np.bincount(drawn, minlength=groups)

    areas = np.empty(n)
    for i in range(n):
        signal, noise = resample(of_signal), resample(of_noise)
        noise_below = np.cumsum(noise) - 0.5 * noise  # ties count one half
        # groups are in the order of the scores, so that the sum counts the pairs that a signal wins
        areas[i] = (signal * noise_below).sum() / (of_signal.size * of_noise.size)
    return float(areas.std(ddof=1))


def efficiency_at_fpr(targets: Any, scores: Any, fpr: float) -> float:
    """Return the share of signals found when at most a share `fpr` of the noise passes.

    The threshold is the loudest noise score that must not pass. A signal is found if it scores
    strictly above it. With fewer than 1/fpr noise samples the threshold is the loudest of them.

    Raises:
        UserError: as in `check_scores`, or an fpr outside [0, 1).
    """
    if not 0.0 <= fpr < 1.0:
        raise UserError(f"fpr = {fpr!r}: expected a false-positive rate from 0 to below 1")
    labels, scores = check_scores(targets, scores)
    noise = np.sort(scores[~labels])[::-1]
    # 1e-9, because 0.3 · 10 is 2.9999…96 in floating point and must allow three
    allowed = int(np.floor(fpr * noise.size + 1e-9))
    return float((scores[labels] > noise[allowed]).mean())
