"""The methods that blend the logits of several models into one score a sample.

A method is fitted on rows whose logits come from networks that never saw them, and is scored on
rows that it has not met itself (`cross_fit`). The exception is `reference`, the blend that the
published solution submitted, which is kept as it was (`reference_blend`).
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
GENERATIONS, PATIENCE = 100, 15  # of CMA-ES: at most, and how many may bring less than 1e-6


# --- fitted blends ---------------------------------------------------------------------------


class Blend(Protocol):
    """A fitted method. `weights` are (models,), or None where there are none to show."""

    weights: np.ndarray | None

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the score (rows,) from 0 to 1 of the features (rows, models)."""


@dataclass(frozen=True)
class Mean:
    """The plain mean of the features; `of_logits` turns it into a probability."""

    weights: np.ndarray
    of_logits: bool

    def predict(self, x: np.ndarray) -> np.ndarray:
        mean = x.mean(1)
        return sigmoid(mean) if self.of_logits else mean


@dataclass(frozen=True)
class Linear:
    """sigmoid(slope · Σ w_i (x_i − centre_i) / scale_i + intercept).

    Attributes:
        weights: (models,) per standard deviation of the feature on the rows of the fit, so that
            those of models with different scales compare.
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
class Trees:
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


def calibrated(
    z: np.ndarray, centre: np.ndarray, scale: np.ndarray, weights: np.ndarray, targets: np.ndarray
) -> Linear:
    """Return the blend of standardized features z as a probability, by logistic regression.

    It leaves the order of the rows and so the AUC as they are. It gives the blends of different
    folds one scale, which averaging them over the test set needs (Platt 1999). A blend that is
    worse than chance on the rows of its fit is not turned round: it gets slope 0.
    """
    score = z @ weights
    spread = score.std()
    if spread == 0:
        share = float(np.clip(targets.mean(), 1e-6, 1 - 1e-6))
        return Linear(centre, scale, weights, 0.0, float(np.log(share / (1 - share))))
    model = logistic(score[:, None] / spread, targets, strength=1e6)
    slope = max(float(model.coef_[0, 0]), 0.0) / spread
    return Linear(centre, scale, weights, slope, float(model.intercept_[0]))


def logistic(z: np.ndarray, targets: np.ndarray, strength: float = 1.0) -> Any:
    """Fit scikit-learn's logistic regression by Newton's method, made for rows >> columns."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, solver="newton-cholesky", max_iter=200).fit(z, targets)


# --- methods ---------------------------------------------------------------------------------
# Each takes features (rows, models), targets (rows,), folds (rows,) and a seed.


def fit_mean(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    return Mean(np.full(x.shape[1], 1 / x.shape[1]), of_logits=False)


def fit_mean_of_logits(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    return Mean(np.full(x.shape[1], 1 / x.shape[1]), of_logits=True)


def ridge_weights(x: np.ndarray, y: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Return the minimizer (models,) of |y − x w|² + alpha |w|², from the normal equations."""
    from scipy.linalg import solve

    gram = x.T @ x  # (models, models)
    gram[np.diag_indices_from(gram)] += alpha
    return solve(gram, x.T @ y, assume_a="pos")


def fit_ridge(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Ridge regression of the target with an intercept, alpha = 1 on standardized features."""
    z, centre, scale = standardize(x)
    return calibrated(z, centre, scale, ridge_weights(z, targets - targets.mean()), targets)


def fit_nonnegative(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Least squares of the target with an intercept and no negative weight."""
    from scipy.optimize import nnls

    z, centre, scale = standardize(x)
    # min |z w − y| over w is min |R w − q|, with z = Q R and q = Qᵀ y: 20 rows for 448,000.
    r = np.linalg.qr(np.column_stack([z, targets - targets.mean()]), mode="r")
    models = x.shape[1]
    weights, _ = nnls(r[:models, :models], r[:models, models])
    return calibrated(z, centre, scale, weights, targets)


def fit_logistic(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Logistic regression with an intercept, C = 1 on standardized features."""
    z, centre, scale = standardize(x)
    model = logistic(z, targets)
    return Linear(centre, scale, model.coef_[0], 1.0, float(model.intercept_[0]))


def fit_cmaes(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Weights that maximize the mean AUC of the folds, by CMA-ES.

    The search starts from the ridge solution. It runs in coordinates in which the features are
    uncorrelated: those of models differ by little (correlations of 0.97), so that the AUC as a
    function of plain weights is a long narrow ridge, on which a search takes an age.

    Reference: Hansen 2016, arXiv:1604.00772.

    Raises:
        UserError: the package cmaes is not installed.
    """
    cmaes = require("cmaes", "stack")
    z, centre, scale = standardize(x)
    models = x.shape[1]
    if models == 1:  # nothing to weigh
        return calibrated(z, centre, scale, np.ones(1), targets)
    covariance = z.T @ z / len(z)
    covariance[np.diag_indices(models)] += 1e-6  # equal models
    root = np.linalg.cholesky(covariance)  # (models, models)
    whitening = np.linalg.inv(root).T  # z @ whitening has unit covariance
    area = MeanFoldAUC(z @ whitening, targets, folds)
    start = root.T @ ridge_weights(z, targets - targets.mean())
    start /= np.linalg.norm(start) or 1.0
    # A hundredth of the start: at Kaggle size that is about how far off it can be.
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
    return calibrated(z, centre, scale, weights / np.abs(weights).sum(), targets)


def fit_boosting(x: np.ndarray, targets: np.ndarray, folds: np.ndarray, seed: int) -> Blend:
    """Gradient-boosted trees, small ones, in which no model's logit may lower the score.

    scikit-learn's, whether LightGBM is there or not: a score should not depend on what else is
    installed, and on 448,000 rows of 20 logits the two were within 1e-4 of each other.
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
    return Trees(model.fit(x, targets))


@dataclass(frozen=True)
class Method:
    """How a method is fitted, on which features, and which extra of pyproject.toml it needs."""

    space: str
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Blend]
    module: str | None = None


REFERENCE = "reference"
# The simplest first: of methods as good as each other the earlier one is chosen.
METHODS: dict[str, Method | None] = {
    "mean": Method("probability", fit_mean),
    "mean_logit": Method("logit", fit_mean_of_logits),
    "mean_rank": Method("rank", fit_mean),
    "nonnegative_logit": Method("logit", fit_nonnegative),
    "nonnegative_rank": Method("rank", fit_nonnegative),
    "ridge_probability": Method("probability", fit_ridge),
    "ridge_logit": Method("logit", fit_ridge),
    "ridge_rank": Method("rank", fit_ridge),
    "logistic_logit": Method("logit", fit_logistic),
    "logistic_rank": Method("rank", fit_logistic),
    REFERENCE: None,  # fitted otherwise: reference_blend
    "cmaes": Method("rank", fit_cmaes, module="cmaes"),
    "boosting": Method("logit", fit_boosting),
}


# --- out of sample ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """What a method gives for every sample.

    Attributes:
        method: its name in METHODS.
        out_of_fold: (n,) scores from 0 to 1, each from a fit that did not see the row.
        test: (m,) scores of the test samples.
        weights: (folds, models), or None for a method that has none.
        in_sample: (folds,) AUC on the rows that the weights were fitted on; of `reference`, as
            it was published.
        seconds: how long it took.
    """

    method: str
    out_of_fold: np.ndarray
    test: np.ndarray
    weights: np.ndarray | None
    in_sample: tuple[float, ...] | None = None
    seconds: float = 0.0


def cross_fit(
    name: str, features: Features, seed: int = 0, on_fold: OnFold = lambda fold, area: None
) -> Fit:
    """Fit a method of METHODS, score the rows out of sample and the test set.

    Args:
        seed: of the methods that draw.
        on_fold: is called with each held-out fold and its AUC.

    Raises:
        UserError: the method is unknown, or its package is not installed.
    """
    from threadpoolctl import threadpool_limits

    if name not in METHODS:
        raise UserError(f"there is no stacking method {name!r}, only {', '.join(METHODS)}")
    method, started = METHODS[name], time.monotonic()
    # The products here are small. On one thread their sums do not depend on the number of cores,
    # and on a machine that has other work too nothing waits for threads that do not get on:
    # CMA-ES then takes a fifth of the time, the trees a tenth.
    with threadpool_limits(1):
        if method is None:
            fit = reference_blend(features, on_fold)
        else:
            fit = hold_out_each(name, method, features, seed, on_fold)
    return replace(fit, seconds=time.monotonic() - started)


def hold_out_each(name: str, method: Method, features: Features, seed: int, on_fold: OnFold) -> Fit:
    """Fit a method on the rows of all folds but one, score that one, and do so for each.

    The test samples are scored by the same fits, averaged over the folds. The fit that left fold
    k out is applied to the test logits of the networks of fold k, as it is to its held-out rows:
    in both cases a blend and networks, neither of which has seen the sample, so that the
    held-out scores say what to expect of the test scores. The mean of the folds' test logits
    would not do: it has less noise than any logit of the fit, and so another distribution.
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
    return Fit(name, out_of_fold, test, np.array(weights) if known else None)


def reference_blend(features: Features, on_fold: OnFold = lambda fold, area: None) -> Fit:
    """The blend of the published solution.

    For each fold k a ridge regression (alpha = 1, no intercept, weights of any sign) of the
    target on the sigmoids of the logits is fitted on the *validation* rows of fold k and applied
    to the test predictions of the networks of fold k; the result is scaled to 0 ... 1 over the
    test set, and the folds' results are averaged. The AUCs that were published with it are of
    the rows of the fit: here `in_sample`.

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
    return Fit(REFERENCE, out_of_fold, test, np.array(weights), tuple(in_sample))


def scale_to_unit(scores: np.ndarray) -> np.ndarray:
    """Return scores (n,) scaled to 0 ... 1 by their extremes; zeros where they are all equal."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.zeros_like(scores)
