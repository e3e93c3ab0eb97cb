"""Stacking methods against hand calculations, scipy and brute force; and what none may see."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from stack_runs import make_stack

from runtime.errors import UserError
from stack import methods as stackers
from stack.features import Features
from stack.inputs import StackData
from stack.methods import METHODS, cross_fit, fit_boosting, fit_cmaes, fit_logistic

ALL = [pytest.param(name, id=name) for name in METHODS]


@pytest.fixture(scope="module")
def data() -> StackData:
    return make_stack()[0]


def rows_of(data: StackData, space: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return Features(data).train(space), data.targets, data.folds


# --- the published blend ---------------------------------------------------------------------


def test_the_reference_blend_is_the_hand_calculation() -> None:
    """Normal equations, min-max and mean, written out for fixed logits of two models."""
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    targets = np.array([0, 1, 1, 0, 1, 0, 0, 1], np.int8)
    out_of_fold = np.array(
        [
            [-2.0, -1.0],
            [0.5, 1.5],
            [1.0, 0.25],
            [0.75, -3.0],
            [2.0, 0.5],
            [-0.5, 0.0],
            [0.25, -1.5],
            [3.5, 1.0],
        ],
        np.float32,
    )
    test = np.array(
        [[[0.5, 1.0], [-1.0, 0.25], [2.0, -2.0]], [[1.5, 0.0], [-2.0, -0.5], [0.0, 3.0]]],
        np.float32,
    )
    ids, tests = np.array(list("abcdefgh")), np.array(list("xyz"))
    fit = cross_fit(
        "reference",
        Features(StackData(("p", "q"), ("", ""), ids, tests, targets, folds, out_of_fold, test)),
    )

    def sigmoid(x):
        return 1 / (1 + np.exp(-x.astype(np.float64)))

    blends, weights, in_sample = [], [], []
    for k in range(2):
        p, q = sigmoid(out_of_fold[folds == k]).T
        y = targets[folds == k]
        # (XᵀX + 1) w = Xᵀy by Cramer's rule
        a, b, d = p @ p + 1, p @ q, q @ q + 1
        e, f = p @ y, q @ y
        w = np.array([e * d - b * f, a * f - b * e]) / (a * d - b * b)
        in_sample.append(roc_auc_score(y, w[0] * p + w[1] * q))
        blend = sigmoid(test[k]) @ w
        blends.append((blend - blend.min()) / (blend.max() - blend.min()))
        weights.append(w)
    np.testing.assert_allclose(fit.weights, weights, atol=1e-12)
    np.testing.assert_allclose(fit.test, (blends[0] + blends[1]) / 2, atol=1e-12)
    assert fit.in_sample == pytest.approx(in_sample, abs=1e-12)
    # Out of sample: the rows of fold 0 by the fit of fold 1, and the reverse
    for k in range(2):
        blend = sigmoid(out_of_fold[folds == k]) @ weights[1 - k]
        scaled = (blend - blend.min()) / (blend.max() - blend.min())
        np.testing.assert_allclose(fit.out_of_fold[folds == k], scaled, atol=1e-12)


def test_the_reference_ridge_is_scikit_learns(data: StackData) -> None:
    fit = cross_fit("reference", Features(data))
    x = 1 / (1 + np.exp(-data.out_of_fold.astype(np.float64)))
    for fold in range(data.num_folds):
        rows = data.rows(fold)
        model = Ridge(alpha=1.0, fit_intercept=False).fit(x[rows], data.targets[rows])
        np.testing.assert_allclose(fit.weights[fold], model.coef_, atol=1e-10)


def test_a_constant_blend_is_no_division_by_zero() -> None:
    np.testing.assert_array_equal(stackers.scale_to_unit(np.full(3, 0.2)), 0.0)


# --- the methods one by one ------------------------------------------------------------------


@pytest.mark.parametrize("space", ["probability", "logit", "rank"])
def test_ridge(data: StackData, space: str) -> None:
    x, targets, folds = rows_of(data, space)
    blend = stackers.fit_ridge(x, targets, folds, 0)
    z = (x - x.mean(0)) / x.std(0)
    model = Ridge(alpha=1.0).fit(z, targets)
    np.testing.assert_allclose(blend.weights, model.coef_, atol=1e-10)
    # A probability of the same order
    assert scipy.stats.spearmanr(blend.predict(x), model.predict(z))[0] > 1 - 1e-9


@pytest.mark.parametrize("space", ["logit", "rank"])
def test_nonnegative_weights(data: StackData, space: str) -> None:
    """Against scipy's nnls on all rows; ours meets it as a small triangle of them."""
    x, targets, folds = rows_of(data, space)
    rng = np.random.default_rng(0)
    # A model that is wrong: least squares gives it a negative weight, which is not allowed.
    x = np.column_stack([x, x[:, 0] - 2 * targets + rng.normal(size=len(x))])
    blend = stackers.fit_nonnegative(x, targets, folds, 0)
    z = (x - x.mean(0)) / x.std(0)
    expected, _ = scipy.optimize.nnls(z, targets - targets.mean())
    np.testing.assert_allclose(blend.weights, expected, atol=1e-9)
    assert blend.weights[-1] == 0.0
    assert stackers.fit_ridge(x, targets, folds, 0).weights[-1] < -0.01


def test_logistic_is_at_the_minimum(data: StackData) -> None:
    """The gradient of the loss plus |w|² / 2 vanishes, and that of the intercept."""
    x, targets, folds = rows_of(data, "logit")
    blend = fit_logistic(x, targets, folds, 0)
    residual = blend.predict(x) - targets
    z = (x - x.mean(0)) / x.std(0)
    # Of a loss of 1,500 rows whose gradient is of order 100 anywhere else
    np.testing.assert_allclose(residual @ z + blend.weights, 0, atol=0.02)
    assert residual.sum() == pytest.approx(0, abs=0.02)


def test_calibration_keeps_the_order_and_hits_the_mean(data: StackData) -> None:
    x, targets, folds = rows_of(data, "logit")
    blend = stackers.fit_ridge(x, targets, folds, 0)
    said = blend.predict(x)
    assert 0 < said.min() < said.max() < 1
    # Logistic regression with an intercept predicts as many signals as there are.
    assert said.mean() == pytest.approx(targets.mean(), abs=1e-4)
    score = (x - blend.centre) / blend.scale @ blend.weights
    assert scipy.stats.spearmanr(said, score)[0] == pytest.approx(1, abs=1e-12)


def test_a_blend_worse_than_chance_is_not_turned_round(rng: np.random.Generator) -> None:
    z = rng.normal(size=(200, 1))
    targets = (z[:, 0] < 0).astype(np.int8)
    blend = stackers.calibrated_blend(z, np.zeros(1), np.ones(1), np.ones(1), targets)
    assert np.ptp(blend.predict(z)) == 0


def test_cmaes_finds_the_best_of_two(data: StackData) -> None:
    """Two models have one free weight: every angle is tried.

    The best of 4,000 angles and the search may each stand on another step of a function that is
    made of steps of 1 / (250 · 250) in a fold.
    """
    pytest.importorskip("cmaes", reason="the extra 'stack' is not installed")
    x, targets, folds = rows_of(data.without("pseudo_07"), "rank")

    def area(weights: np.ndarray) -> float:
        scores = x / x.std(0) @ weights
        return np.mean([roc_auc_score(targets[folds == k], scores[folds == k]) for k in range(3)])

    found = area(fit_cmaes(x, targets, folds, 0).weights)
    ridge = area(stackers.fit_ridge(x, targets, folds, 0).weights)
    angles = np.linspace(0, np.pi / 2, 4000)
    best = max(area(np.array([np.cos(angle), np.sin(angle)])) for angle in angles[::20])
    assert found >= ridge
    assert found == pytest.approx(best, abs=1e-4)


def test_cmaes_beats_ridge_on_its_own_rows() -> None:
    pytest.importorskip("cmaes", reason="the extra 'stack' is not installed")
    data = make_stack(names=tuple("abcdef"))[0]
    x, targets, folds = rows_of(data, "rank")
    area = stackers.MeanFoldAUC(x / x.std(0), targets, folds)
    pair = [fit(x, targets, folds, 0).weights for fit in (fit_cmaes, stackers.fit_ridge)]
    ours, ridge = area(np.array(pair))
    assert ours > ridge + 1e-5
    again = fit_cmaes(x, targets, folds, 0).weights
    np.testing.assert_array_equal(again, pair[0])  # seeded


def test_no_model_lowers_a_boosted_score(data: StackData) -> None:
    x, targets, folds = rows_of(data, "logit")
    blend = fit_boosting(x, targets, folds, 0)
    said = blend.predict(x)
    assert roc_auc_score(targets, said) > 0.8
    for model in range(3):
        louder = x.copy()
        louder[:, model] += 1.0
        assert (blend.predict(louder) >= said - 1e-12).all()


def test_means(data: StackData) -> None:
    p = 1 / (1 + np.exp(-data.out_of_fold.astype(np.float64)))
    tests = 1 / (1 + np.exp(-data.test.astype(np.float64)))  # (folds, m, models)
    fit = cross_fit("mean", Features(data))
    np.testing.assert_allclose(fit.out_of_fold, p.mean(1), atol=1e-12)
    np.testing.assert_allclose(fit.test, tests.mean((0, 2)), atol=1e-12)
    fit = cross_fit("mean_logit", Features(data))
    mean = data.out_of_fold.astype(np.float64).mean(1)
    np.testing.assert_allclose(fit.out_of_fold, 1 / (1 + np.exp(-mean)), atol=1e-12)


# --- what holds for all ----------------------------------------------------------------------


def skip_without_package(name: str) -> None:
    method = METHODS[name]
    if method is not None and method.module is not None:
        pytest.importorskip(method.module, reason="the extra 'stack' is not installed")


@pytest.mark.parametrize("name", ALL)
def test_a_score_never_saw_its_own_target(data: StackData, name: str) -> None:
    """Targets of fold 1 turned round leave its scores as they are, to the last bit."""
    skip_without_package(name)
    before = cross_fit(name, Features(data)).out_of_fold
    rows = data.rows(1)
    targets = data.targets.copy()
    targets[rows] = 1 - targets[rows]
    after = cross_fit(name, Features(replace(data, targets=targets))).out_of_fold
    np.testing.assert_array_equal(after[rows], before[rows])
    if not name.startswith("mean"):
        assert not np.array_equal(after, before)


@pytest.mark.parametrize("name", ALL)
def test_scores_of_every_method(name: str) -> None:
    """Better than chance, from 0 to 1, of any test order, and reported fold by fold."""
    skip_without_package(name)
    data, truth = make_stack()
    heard = []
    fit = cross_fit(name, Features(data), on_fold=lambda fold, area: heard.append((fold, area)))
    assert [fold for fold, _ in heard] == [0, 1, 2]
    for fold, area in heard:
        rows = data.rows(fold)
        assert area == pytest.approx(roc_auc_score(data.targets[rows], fit.out_of_fold[rows]))
    assert fit.out_of_fold.shape == (1500,)
    assert fit.test.shape == (600,)
    for scores in (fit.out_of_fold, fit.test):
        assert 0 <= scores.min() < scores.max() <= 1
    assert roc_auc_score(truth, fit.test) > 0.82  # the best model alone has 0.81
    if fit.weights is not None:
        assert fit.weights.shape == (3, 3)
    turned = replace(data, test=data.test[:, ::-1], test_ids=data.test_ids[::-1])
    # BLAS sums a row's products in another order at another place.
    np.testing.assert_allclose(cross_fit(name, Features(turned)).test, fit.test[::-1], atol=1e-12)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "reference"])
def test_the_fit_without_a_fold_scores_that_folds_test_logits(name: str) -> None:
    """A test set that repeats the training rows scores, where held out, as they do.

    The logits of the other folds' networks are made equal for all of it: they add a constant.
    """
    skip_without_package(name)
    data = make_stack()[0]
    for fold in range(3):
        test = np.zeros((3, *data.out_of_fold.shape), np.float32)
        test[fold] = data.out_of_fold
        fit = cross_fit(name, Features(replace(data, test_ids=data.train_ids, test=test)))
        rows = data.rows(fold)
        constant = 3 * fit.test[rows] - fit.out_of_fold[rows]
        np.testing.assert_allclose(constant, constant[0], atol=1e-6)  # test ranks are float32


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("names", [("a",), ("a", "a2")], ids=["one model", "a model twice"])
def test_degenerate_stacks(name: str, names: tuple[str, ...]) -> None:
    """They are as good as the model itself."""
    skip_without_package(name)
    data = make_stack(names=("a",))[0]
    copies = [0] * len(names)
    data = replace(
        data,
        names=names,
        suffixes=("",) * len(names),
        out_of_fold=data.out_of_fold[:, copies],
        test=data.test[..., copies],
    )
    fit = cross_fit(name, Features(data))
    for fold in range(3):
        rows = data.rows(fold)
        alone = roc_auc_score(data.targets[rows], data.out_of_fold[rows, 0])
        # Trees make steps of a curve.
        tolerance = 0.02 if name == "boosting" else 1e-9
        blended = roc_auc_score(data.targets[rows], fit.out_of_fold[rows])
        assert blended == pytest.approx(alone, abs=tolerance)


def test_a_method_or_its_package_is_missing(
    data: StackData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no stacking method 'median', only mean, "):
        cross_fit("median", Features(data))
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(UserError, match=r"'cmaes' is needed .*pip install -e '\.\[stack\]'"):
        cross_fit("cmaes", Features(data))
