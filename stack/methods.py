"""The methods that blend the logits of several models into one score a sample.

A method is fitted on out-of-fold logits and scored on rows that it was not fitted on
(`cross_fit`). The exception is `reference`, the blend that the published solution submitted, which
is reproduced unchanged (`reference_blend`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from experiments.predictions import sigmoid
from metrics import AUC
from runtime.errors import UserError
from runtime.optional_packages import require
from stack.features import Features
from stack.scores import MeanFoldAUC

OnFold = Callable[[int, float], None]
GENERATIONS = 100  # of CMA-ES, at most
PATIENCE = 15  # generations in a row that may improve the AUC by less than 1e-6


# --- fitted blends ---------------------------------------------------------------------------


class Blend(Protocol):
    """A fitted method. `weights` are (models,), or None if it has none."""

    weights: np.ndarray | None

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the score (rows,) from 0 to 1 of the features (rows, models)."""


@dataclass(frozen=True)
class MeanBlend:
    """The plain mean of the features; `of_logits` turns it into a probability."""

    weights: np.ndarray
    of_logits: bool

    def predict(self, x: np.ndarray) -> np.ndarray:
        mean = x.mean(1)
        return sigmoid(mean) if self.of_logits else mean


@dataclass(frozen=True)
class LinearBlend:
    """sigmoid(slope · Σ w_i (x_i − centre_i) / scale_i + intercept).

    Attributes:
        weights: (models,) per standard deviation of the feature on the rows of the fit, so that
            the weights of models with different scales can be compared.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0

    def predict(self, x: np.ndarray) -> np.ndarray:
        # (rows, models) @ (models,) -> (rows,), without a centred copy of x
        weights = self.weights / self.scale
        return sigmoid(self.slope * (x @ weights - self.centre @ weights) + self.intercept)


@dataclass(frozen=True)
class TreeBlend:
    """Gradient-boosted trees."""

    model: Any
    weights: None = None

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(x)[:, 1]


def standardize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (x − mean) / std of the columns, the means and the stds (1 for a constant)."""
    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    return (x - centre) / scale, centre, scale


def calibrated_blend(
    z: np.ndarray, centre: np.ndarray, scale: np.ndarray, weights: np.ndarray, targets: np.ndarray
) -> LinearBlend:
    """Return the blend of standardized features z as a probability, by logistic regression.

    This changes neither the order of the rows nor the AUC. It gives the blends of different folds
    one scale, so that they can be averaged over the test set (Platt 1999). The slope cannot be
    negative: a blend that is worse than chance on the rows of its fit gets slope 0.
    """
    score = z @ weights
    spread = score.std()
    if spread == 0:  # a constant score: the share of signals is all that can be said
        share = float(np.clip(targets.mean(), 1e-6, 1 - 1e-6))
        return LinearBlend(centre, scale, weights, 0.0, float(np.log(share / (1 - share))))
    model = fit_logistic_regression(score[:, None] / spread, targets, strength=1e6)
    slope = max(float(model.coef_[0, 0]), 0.0) / spread
    return LinearBlend(centre, scale, weights, slope, float(model.intercept_[0]))


def fit_logistic_regression(z: np.ndarray, targets: np.ndarray, strength: float = 1.0) -> Any:
    """Fit scikit-learn's logistic regression by Newton's method, which suits rows >> columns."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, solver="newton-cholesky", max_iter=200).fit(z, targets)


# --- methods ---------------------------------------------------------------------------------
# Each takes features (rows, models), targets (rows,), folds (rows,) and a seed.


def fit_mean(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    return MeanBlend(np.full(x.shape[1], 1 / x.shape[1]), of_logits=False)


def fit_mean_of_logits(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    return MeanBlend(np.full(x.shape[1], 1 / x.shape[1]), of_logits=True)


def ridge_weights(x: np.ndarray, y: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Return the minimizer (models,) of |y − x w|² + alpha |w|², from the normal equations."""
    from scipy.linalg import solve

    gram = x.T @ x  # (models, models)
    gram[np.diag_indices_from(gram)] += alpha
    return solve(gram, x.T @ y, assume_a="pos")


def fit_ridge(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Ridge regression of the target with an intercept, alpha = 1 on standardized features."""
    z, centre, scale = standardize(x)
    return calibrated_blend(z, centre, scale, ridge_weights(z, targets - targets.mean()), targets)


def fit_nonnegative(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Least squares of the target with an intercept and no negative weight."""
    from scipy.optimize import nnls

    z, centre, scale = standardize(x)
    # With z = Q R and q = Qᵀ y, |z w − y|² = |R w − q|² + a constant: nnls then sees 20 rows
    # instead of 448,000. The QR decomposition of (z | y) gives R and, in its last column, q.
    r = np.linalg.qr(np.column_stack([z, targets - targets.mean()]), mode="r")
    models = x.shape[1]
    weights, _ = nnls(r[:models, :models], r[:models, models])
    return calibrated_blend(z, centre, scale, weights, targets)


def fit_logistic(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Logistic regression with an intercept, C = 1 on standardized features."""
    z, centre, scale = standardize(x)
    model = fit_logistic_regression(z, targets)
    return LinearBlend(centre, scale, model.coef_[0], 1.0, float(model.intercept_[0]))


def fit_cmaes(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Weights that maximize the mean AUC of the folds, by CMA-ES.

    The search starts from the ridge solution, in coordinates in which the features are
    uncorrelated. The features themselves have correlations of about 0.97, which makes the AUC as a
    function of their weights a long narrow ridge, on which the search converges slowly.

    Reference: Hansen 2016, arXiv:1604.00772.

    Raises:
        UserError: the package cmaes is not installed.
    """
    cmaes = require("cmaes", "stack")
    z, centre, scale = standardize(x)
    models = x.shape[1]
    if models == 1:  # nothing to weigh
        return calibrated_blend(z, centre, scale, np.ones(1), targets)
    covariance = z.T @ z / len(z)
    covariance[np.diag_indices(models)] += 1e-6  # two equal models would make it singular
    root = np.linalg.cholesky(covariance)  # (models, models)
    whitening = np.linalg.inv(root).T  # z @ whitening has unit covariance
    area = MeanFoldAUC(z @ whitening, targets, folds)
    start = root.T @ ridge_weights(z, targets - targets.mean())
    start /= np.linalg.norm(start) or 1.0
    # The start has length 1; at Kaggle's size the optimum is about a hundredth of that away.
    search = cmaes.CMA(mean=start, sigma=0.01, seed=seed)
    best, best_area, waited = start, float(area(start[None])[0]), 0
    for _ in range(GENERATIONS):
        points = np.array([search.ask() for _ in range(search.population_size)])
        areas = area(points)
        search.tell([(point, -value) for point, value in zip(points, areas, strict=True)])
        waited = 0 if areas.max() > best_area + 1e-6 else waited + 1
        if areas.max() > best_area:
            best, best_area = points[areas.argmax()], float(areas.max())
        if waited == PATIENCE:
            break
    weights = whitening @ best
    return calibrated_blend(z, centre, scale, weights / np.abs(weights).sum(), targets)


def fit_boosting(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Small gradient-boosted trees whose score never falls when a model's logit rises.

    Always scikit-learn's, even if LightGBM is installed: a score should not depend on which
    packages there are, and on 448,000 rows of 20 logits the two differed by less than 1e-4.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=200,
        max_leaf_nodes=15,
        min_samples_leaf=int(np.clip(len(x) // 200, 5, 100)),
        monotonic_cst=[1] * x.shape[1],
        early_stopping=len(x) >= 10_000,
        n_iter_no_change=5,
        random_state=seed,
    )
    return TreeBlend(model.fit(x, targets))


@dataclass(frozen=True)
class StackingMethod:
    """How a method is fitted, on which features, and which extra of pyproject.toml it needs."""

    space: str
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Blend]
    module: str | None = None


REFERENCE = "reference"
# The simplest first: of equally good methods the earlier one is chosen.
METHODS: dict[str, StackingMethod | None] = {
    "mean": StackingMethod("probability", fit_mean),
    "mean_logit": StackingMethod("logit", fit_mean_of_logits),
    "mean_rank": StackingMethod("rank", fit_mean),
    "nonnegative_logit": StackingMethod("logit", fit_nonnegative),
    "nonnegative_rank": StackingMethod("rank", fit_nonnegative),
    "ridge_probability": StackingMethod("probability", fit_ridge),
    "ridge_logit": StackingMethod("logit", fit_ridge),
    "ridge_rank": StackingMethod("rank", fit_ridge),
    "logistic_logit": StackingMethod("logit", fit_logistic),
    "logistic_rank": StackingMethod("rank", fit_logistic),
    REFERENCE: None,  # has a way of fitting of its own: reference_blend
    "cmaes": StackingMethod("rank", fit_cmaes, module="cmaes"),
    "boosting": StackingMethod("logit", fit_boosting),
}


# --- out of sample ---------------------------------------------------------------------------


@dataclass(frozen=True)
class MethodFit:
    """The scores that a method gives all samples.

    Attributes:
        method: its name in METHODS.
        out_of_fold: (n,) scores from 0 to 1, each from a fit without the row.
        test: (m,) scores of the test samples.
        weights: (folds, models), or None for a method that has none.
        in_sample: (folds,) AUC on the rows that the weights were fitted on, as was published of
            `reference`; None for the other methods.
        seconds: the time that fitting and scoring took.
    """

    method: str
    out_of_fold: np.ndarray
    test: np.ndarray
    weights: np.ndarray | None
    in_sample: tuple[float, ...] | None = None
    seconds: float = 0.0


def cross_fit(
    name: str, features: Features, seed: int = 0, on_fold: OnFold = lambda fold, area: None
) -> MethodFit:
    """Fit a method of METHODS, score the rows out of sample and the test set.

    Args:
        seed: of the methods that draw random numbers.
        on_fold: is called with each held-out fold and its AUC.

    Raises:
        UserError: the method is unknown, or its package is not installed.
    """
    from threadpoolctl import threadpool_limits

    if name not in METHODS:
        raise UserError(f"there is no stacking method {name!r}, only {', '.join(METHODS)}")
    method, started = METHODS[name], time.monotonic()
    # The products here are small. On one thread their sums do not depend on the number of cores,
    # and on a busy machine no thread waits for another: CMA-ES takes a fifth of the time, the
    # trees a tenth.
    with threadpool_limits(1):
        if method is None:
            fit = reference_blend(features, on_fold)
        else:
            fit = hold_out_each(name, method, features, seed, on_fold)
    return replace(fit, seconds=time.monotonic() - started)


def hold_out_each(
    name: str, method: StackingMethod, features: Features, seed: int, on_fold: OnFold
) -> MethodFit:
    """For each fold, fit a method on the rows of the other folds and score the rows of this one.

    The test samples are scored by the same fits, averaged over the folds. The fit without fold k
    is applied to the test logits of the networks of fold k, just as it is applied to the held-out
    rows of fold k. The mean over folds of the test logits would not do: it has less noise than
    the logits of the fit, and so another distribution.

    The held-out scores predict the test scores as far as the networks of fold k know as little of
    the test samples as of the rows of fold k. Networks that were trained on the test samples with
    pseudo-labels know more of them (`Members.labelled_by`).
    """
    data, targets = features.data, features.data.targets
    x = features.train(method.space)
    out_of_fold, test = np.empty(len(targets)), np.zeros(len(data.test_ids))
    weights = []
    for fold in range(data.num_folds):
        fitted_on, held_out = np.flatnonzero(data.folds != fold), data.rows(fold)
        blend = method.fit(x[fitted_on], targets[fitted_on], data.folds[fitted_on], seed)
        out_of_fold[held_out] = blend.predict(x[held_out])
        test += blend.predict(features.test(method.space, fold)) / data.num_folds
        weights.append(blend.weights)
        on_fold(fold, AUC()(targets[held_out], out_of_fold[held_out]))
    known = all(w is not None for w in weights)
    return MethodFit(name, out_of_fold, test, np.array(weights) if known else None)


def reference_blend(features: Features, on_fold: OnFold = lambda fold, area: None) -> MethodFit:
    """The blend of the published solution.

    For each fold k a ridge regression (alpha = 1, no intercept, weights of any sign) of the
    target on the sigmoids of the logits is fitted on the *validation* rows of fold k and applied
    to the test predictions of the networks of fold k. The result is scaled to 0 ... 1 over the
    test set, and the folds' results are averaged. The AUCs that were published with it are on
    the rows of the fit: `in_sample` here.

    Its out-of-fold scores are of the same blend out of sample: a row of fold k is scored by the
    fits of the other folds, scaled and averaged like the test set.
    """
    data, targets = features.data, features.data.targets
    x, folds = features.train("probability"), range(data.num_folds)
    test, in_sample, weights = np.zeros(len(data.test_ids)), [], []
    for fold in folds:
        rows = data.rows(fold)
        weights.append(ridge_weights(x[rows], targets[rows].astype(np.float64)))
        in_sample.append(AUC()(targets[rows], x[rows] @ weights[fold]))
        test += scale_to_unit(features.test("probability", fold) @ weights[fold]) / len(folds)
    out_of_fold = np.zeros(len(targets))
    for fold in folds:
        rows = data.rows(fold)
        others = [scale_to_unit(x[rows] @ weights[other]) for other in folds if other != fold]
        out_of_fold[rows] = np.mean(others, 0)
        on_fold(fold, AUC()(targets[rows], out_of_fold[rows]))
    return MethodFit(REFERENCE, out_of_fold, test, np.array(weights), tuple(in_sample))


def scale_to_unit(scores: np.ndarray) -> np.ndarray:
    """Return scores (n,) scaled to 0 ... 1 by their extremes; zeros if they are all equal."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)
