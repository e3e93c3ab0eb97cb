"""Metrics: AUC, its error, efficiency at a false-alarm probability, and those of other targets.

A metric is called with (target, outputs) of a whole epoch. Its `maximize` says whether larger is
better, and its `kinds` which targets it is for: 'binary' (n,), 'labels' and 'classes' (n, K), or
'numbers' (n, K). Outputs are log-odds, of each class against all others for 'classes'; for
'numbers' they are values in the units of the table. A class without `kinds` is taken for any.
"""

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
    kinds = ("binary",)

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


# --- further metrics of a signal's log-odds ---------------------------------------------------


class PartialAUC:
    """Area under the ROC curve up to a false-alarm probability, rescaled to 0.5 for chance.

    With a = the area below the curve left of max_fpr, least = max_fpr^2 / 2 (of chance) and most =
    max_fpr, it is (1 + (a - least) / (most - least)) / 2 (McClish 1989, Medical Decision Making 9,
    190), as scikit-learn's `roc_auc_score(max_fpr=...)` returns it.

    Args:
        max_fpr: false-alarm probability, above 0 and at most 1; 1 gives the AUC.

    Raises:
        UserError: another max_fpr; when called, as in `check_scores`.
    """

    maximize = True
    kinds = ("binary",)

    def __init__(self, max_fpr: float = 0.1) -> None:
        if not 0 < max_fpr <= 1:
            raise UserError(f"PartialAUC: max_fpr = {max_fpr!r}: expected above 0 and at most 1")
        self.max_fpr = float(max_fpr)
        self.name = f"partial_auc_{self.max_fpr:g}"

    def __call__(self, targets: Any, scores: Any) -> float:
        labels, scores = check_scores(targets, scores)
        false_alarms, efficiency = roc_points(labels, scores)
        # The curve ends at max_fpr, between two of its points.
        last = np.searchsorted(false_alarms, self.max_fpr, side="right")
        end = np.interp(self.max_fpr, false_alarms, efficiency)
        x = np.append(false_alarms[:last], self.max_fpr)
        y = np.append(efficiency[:last], end)
        area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
        least = self.max_fpr**2 / 2
        return (1 + (area - least) / (self.max_fpr - least)) / 2


def roc_points(labels: NDArray[np.bool_], scores: Float64) -> tuple[Float64, Float64]:
    """Return false-alarm probabilities and efficiencies at every distinct score, (points,) each.

    Both begin at 0 and rise to 1; equal scores are one straight piece of the curve.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = labels[order]
    # the last sample of each group of equal scores, from the loudest on
    last = np.append(np.flatnonzero(np.diff(scores[order])), ranked.size - 1)
    found = np.cumsum(ranked)[last]  # signals at or above each threshold
    passed = last + 1 - found  # noise samples
    return (np.append(0.0, passed / passed[-1]), np.append(0.0, found / found[-1]))


class EfficiencyAtFPR:
    """The share of signals found at a false-alarm probability; see `efficiency_at_fpr`.

    Args:
        fpr: the share of the noise that may pass, from 0 to below 1.

    Raises:
        UserError: an fpr outside [0, 1); when called, as in `check_scores`.
    """

    maximize = True
    kinds = ("binary",)

    def __init__(self, fpr: float = 0.01) -> None:
        if not 0.0 <= fpr < 1.0:
            raise UserError(f"EfficiencyAtFPR: fpr = {fpr!r}: expected from 0 to below 1")
        self.fpr = float(fpr)
        self.name = f"efficiency_at_{self.fpr:g}"

    def __call__(self, targets: Any, scores: Any) -> float:
        return efficiency_at_fpr(targets, scores, self.fpr)


class AveragePrecision:
    """The mean of the precision over the signals, from the loudest: sum_k (R_k - R_(k-1)) P_k.

    P_k and R_k are precision and efficiency at the k-th threshold, without interpolation, as in
    scikit-learn's `average_precision_score`. Errors as in `check_scores`.
    """

    name = "average_precision"
    maximize = True
    kinds = ("binary",)

    def __call__(self, targets: Any, scores: Any) -> float:
        labels, scores = check_scores(targets, scores)
        order = np.argsort(-scores, kind="stable")
        ranked = labels[order]
        last = np.append(np.flatnonzero(np.diff(scores[order])), ranked.size - 1)
        found = np.cumsum(ranked)[last]
        precision = found / (last + 1)
        return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


class LogLoss:
    """Mean binary cross-entropy of log-odds x: mean of log(1 + e^x) - t x, over all elements.

    Soft targets count as they are.

    Raises:
        UserError: when called, targets and outputs have different shapes, or there is a NaN.
    """

    name = "log_loss"
    maximize = False
    kinds = ("binary", "labels")

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        return float((np.logaddexp(0.0, outputs) - targets * outputs).mean())


class CalibrationError:
    """How far probabilities are from frequencies: sum_b n_b / n |mean p - mean t| over bins.

    Bins divide 0 to 1 evenly (Naeini, Cooper and Hauskrecht 2015, AAAI, 2901).

    Args:
        bins: their number.

    Raises:
        UserError: no bin; when called, different shapes or a NaN.
    """

    name = "calibration_error"
    maximize = False
    kinds = ("binary", "labels")

    def __init__(self, bins: int = 15) -> None:
        if bins < 1:
            raise UserError(f"CalibrationError: bins = {bins}: expected 1 or more")
        self.bins = int(bins)

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = (part.ravel() for part in check_columns(targets, outputs))
        probability = 0.5 * (1.0 + np.tanh(0.5 * outputs))  # 1 / (1 + e^-x) without overflow
        number = np.minimum((probability * self.bins).astype(int), self.bins - 1)
        # n_b |mean p - mean t| is |sum p - sum t| of the bin
        excess = np.bincount(number, probability - targets, minlength=self.bins)
        return float(np.abs(excess).sum() / targets.size)


# --- several classes, several labels, numbers -------------------------------------------------


def check_columns(targets: Any, outputs: Any) -> tuple[Float64, Float64]:
    """Return targets and outputs as float64 (n, K); (n,) becomes (n, 1).

    Raises:
        UserError: their shapes differ, there is no row, or there is a NaN.
    """
    targets, outputs = as_numpy(targets), as_numpy(outputs)
    targets, outputs = (x[:, None] if x.ndim == 1 else x for x in (targets, outputs))
    if targets.shape != outputs.shape or targets.ndim != 2 or not len(targets):
        raise UserError(
            f"a metric got targets of shape {targets.shape} and outputs of shape {outputs.shape}: "
            f"expected the same, (n, K)"
        )
    for name, values in (("output", outputs), ("target", targets)):
        bad = int(np.isnan(values).sum())
        if bad:
            raise UserError(f"{bad} of {values.size} {name}s are NaN, so there is no metric")
    return targets, outputs


class MeanAUC:
    """The mean over columns of the AUC of each label, or of each class against all others.

    Raises:
        UserError: when called, as in `check_columns`, or a column has a single class.
    """

    name = "mean_auc"
    maximize = True
    kinds = ("labels", "classes")

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        return float(
            np.mean([AUC()(*columns) for columns in zip(targets.T, outputs.T, strict=True)])
        )


class Accuracy:
    """The share of samples whose most probable class is the true one; errors as `check_columns`."""

    name = "accuracy"
    maximize = True
    kinds = ("classes",)

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        return float((targets.argmax(1) == outputs.argmax(1)).mean())


class ClassLogLoss:
    """Mean cross-entropy of several classes, -mean sum_c t_c log p_c.

    The outputs x_c are log-odds, so that log p_c = -log(1 + e^(-x_c)). Errors as in
    `check_columns`.
    """

    name = "class_log_loss"
    maximize = False
    kinds = ("classes",)

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        return float((targets * np.logaddexp(0.0, -outputs)).sum(1).mean())


class MeanAbsoluteError:
    """Mean of |output - target| over rows and columns; errors as in `check_columns`."""

    name = "mean_absolute_error"
    maximize = False
    kinds = ("numbers",)

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        return float(np.abs(outputs - targets).mean())


class RootMeanSquaredError:
    """Root of the mean of (output - target)^2 over rows and columns; errors as `check_columns`."""

    name = "rmse"
    maximize = False
    kinds = ("numbers",)

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        return float(np.sqrt(((outputs - targets) ** 2).mean()))


class R2:
    """1 - sum (output - target)^2 / sum (target - mean)^2, the mean over columns.

    Raises:
        UserError: when called, as in `check_columns`, or all targets of a column are the same.
    """

    name = "r2"
    maximize = True
    kinds = ("numbers",)

    def __call__(self, targets: Any, outputs: Any) -> float:
        targets, outputs = check_columns(targets, outputs)
        spread = ((targets - targets.mean(0)) ** 2).sum(0)
        if not (spread > 0).all():
            raise UserError("R2: all targets of a column are the same, so that it is undefined")
        return float((1 - ((outputs - targets) ** 2).sum(0) / spread).mean())
