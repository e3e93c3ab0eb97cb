"""Metrics against scikit-learn, plain counting and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import metrics
from metrics import AUC, bootstrap_error, delong_error, efficiency_at_fpr, midranks
from runtime.errors import UserError


def separated(rng: np.random.Generator, n: int, shift: float = 1.5) -> tuple:
    targets = rng.integers(0, 2, n)
    return targets, rng.normal(0, 1, n) + shift * targets


@pytest.mark.parametrize("decimals", [None, 1])  # one decimal makes many ties
def test_auc_equals_sklearn(rng, decimals) -> None:
    from sklearn.metrics import roc_auc_score

    targets, scores = separated(rng, 2000)
    scores = scores if decimals is None else scores.round(decimals)
    # both are exact up to float64 rounding of sums of 2000 terms
    assert AUC()(targets, scores) == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)


def test_auc_equals_counting_pairs(rng) -> None:
    targets, scores = separated(rng, 60)
    scores = scores.round(1)
    signal, noise = scores[targets == 1], scores[targets == 0]
    pairs = (signal[:, None] > noise) + 0.5 * (signal[:, None] == noise)
    assert AUC()(targets, scores) == pytest.approx(pairs.mean(), abs=1e-12)


def test_auc_takes_every_shape_and_kind(rng) -> None:
    targets, scores = separated(rng, 100)
    expected = AUC()(targets, scores)
    two = np.stack([-scores, scores], axis=1)
    for t in (targets, targets[:, None], torch.tensor(targets), list(targets)):
        for s in (scores, scores[:, None], two, torch.tensor(two, requires_grad=True)):
            assert AUC()(t, s) == expected
    assert AUC.name == "auc"
    assert isinstance(expected, float)
    assert AUC()([0, 1], torch.tensor([0.0, 1.0], dtype=torch.bfloat16)) == 1.0


def test_auc_keeps_float64_order() -> None:
    """Two scores that float32 cannot tell apart."""
    assert AUC()([0, 1], [1.0, 1.0 + 1e-12]) == 1.0


def test_auc_rounds_soft_targets(rng) -> None:
    targets, scores = separated(rng, 200)
    soft = np.where(targets == 1, rng.uniform(0.51, 1, 200), rng.uniform(0, 0.49, 200))
    assert AUC()(soft, scores) == AUC()(targets, scores)


def test_infinite_scores_have_an_order() -> None:
    assert AUC()([0, 1, 1], [-np.inf, 0.0, np.inf]) == 1.0


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([0, 1, 1], [0.1, np.nan, np.nan], "2 of 3 scores are NaN"),
        ([0, np.nan], [0.1, 0.2], "1 of 2 targets are NaN"),
        ([1, 1], [0.1, 0.2], "2 signals and 0 noise"),
        ([0], [0.1], "0 signals and 1 noise"),
        ([], [], "0 signals and 0 noise"),
        ([0, 3], [0.1, 0.2], "expected 0 to 1"),
        ([0, 1], [0.1, 0.2, 0.3], "shape"),
        ([0, 1], [[0.1] * 3] * 2, "shape"),
    ],
)
def test_auc_refuses(targets, scores, message) -> None:
    with pytest.raises(UserError, match=message):
        AUC()(targets, scores)


def test_midranks_equal_scipy(rng) -> None:
    from scipy.stats import rankdata

    values = rng.integers(0, 30, 200).astype(float)
    np.testing.assert_array_equal(midranks(values), rankdata(values))


def test_errors_equal_the_spread_over_fresh_data(rng) -> None:
    """DeLong's and the bootstrap's error against the scatter of AUC over 400 fresh data sets."""
    sets = [separated(rng, 400) for _ in range(400)]
    spread = np.std([AUC()(t, s) for t, s in sets])
    delong = np.mean([delong_error(t, s) for t, s in sets[:50]])
    # a standard deviation from 400 draws is known to 1/sqrt(800) = 3.5 %; three times that
    assert delong == pytest.approx(spread, rel=0.11)
    boot = np.mean([bootstrap_error(t, s, n=200, seed=i) for i, (t, s) in enumerate(sets[:20])])
    assert boot == pytest.approx(delong, rel=0.05)


def test_bootstrap_repeats_and_handles_ties(rng) -> None:
    targets, scores = separated(rng, 300)
    scores = scores.round(0)
    first = bootstrap_error(targets, scores, n=400, seed=3)
    assert first == bootstrap_error(targets, scores, n=400, seed=3)
    assert first != bootstrap_error(targets, scores, n=400, seed=4)
    assert first == pytest.approx(delong_error(targets, scores), rel=0.12)  # 3 / sqrt(800)


def test_efficiency() -> None:
    noise, signal = np.arange(100), np.array([-1, 50, 89.5, 90, 98.5, 200])
    targets = np.r_[np.zeros(100), np.ones(6)]
    scores = np.r_[noise, signal]
    # ten noise samples, 90 ... 99, may pass: the threshold is 89
    assert efficiency_at_fpr(targets, scores, 0.1) == pytest.approx(4 / 6)
    assert efficiency_at_fpr(targets, scores, 0.01) == pytest.approx(2 / 6)
    assert efficiency_at_fpr(targets, scores, 0.0) == pytest.approx(1 / 6)
    assert efficiency_at_fpr(targets, scores, 1e-9) == pytest.approx(1 / 6)
    with pytest.raises(UserError, match="fpr"):
        efficiency_at_fpr(targets, scores, 1.0)


def test_efficiency_lies_on_the_roc_curve(rng) -> None:
    from sklearn.metrics import roc_curve

    targets, scores = separated(rng, 1000)
    fpr, tpr, _ = roc_curve(targets, scores, drop_intermediate=False)
    for rate in (0.003, 0.02, 0.3):
        assert efficiency_at_fpr(targets, scores, rate) == pytest.approx(tpr[fpr <= rate].max())


def test_error_refuses_too_little() -> None:
    with pytest.raises(UserError, match="two of each"):
        delong_error([0, 1, 1], [0, 1, 2])
    with pytest.raises(UserError, match="at least 2"):
        bootstrap_error([0, 1], [0, 1], n=1)


# --- further metrics -------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [None, 1])  # one decimal makes many ties
@pytest.mark.parametrize("max_fpr", [0.001, 0.1, 0.37, 1.0])
def test_partial_auc_equals_sklearn(rng, decimals, max_fpr) -> None:
    from sklearn.metrics import roc_auc_score

    targets, scores = separated(rng, 2000)
    scores = scores if decimals is None else scores.round(decimals)
    expected = roc_auc_score(targets, scores, max_fpr=max_fpr)
    metric = metrics.PartialAUC(max_fpr)
    assert metric(targets, scores) == pytest.approx(expected, abs=1e-12)
    assert metric.name == f"partial_auc_{max_fpr:g}"


@pytest.mark.parametrize("decimals", [None, 1])
def test_average_precision_equals_sklearn(rng, decimals) -> None:
    from sklearn.metrics import average_precision_score

    targets, scores = separated(rng, 2000)
    scores = scores if decimals is None else scores.round(decimals)
    expected = average_precision_score(targets, scores)
    assert metrics.AveragePrecision()(targets, scores) == pytest.approx(expected, abs=1e-12)


def test_log_losses_equal_sklearn(rng) -> None:
    from scipy.special import expit, logit, softmax
    from sklearn.metrics import log_loss

    targets, scores = separated(rng, 500)
    expected = log_loss(targets, expit(scores))
    assert metrics.LogLoss()(targets, torch.tensor(scores)) == pytest.approx(expected, rel=1e-12)
    # of several labels, the mean over all of them; at 800 a probability would have rounded to 1
    assert metrics.LogLoss()([[0, 1]], [[800.0, 800.0]]) == pytest.approx(400)
    number, outputs = rng.integers(0, 3, 500), rng.normal(0, 3, (500, 3))
    p = softmax(outputs, 1)
    assert metrics.ClassLogLoss()(np.eye(3)[number], logit(p)) == pytest.approx(
        log_loss(number, p), rel=1e-9
    )
    assert metrics.Accuracy()(np.eye(3)[number], logit(p)) == (outputs.argmax(1) == number).mean()


def test_calibration_error_equals_its_formula(rng) -> None:
    targets, scores = separated(rng, 400)
    p = 1 / (1 + np.exp(-scores))
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (p >= low) & (p < low + 0.1)
        if inside.any():
            expected += inside.mean() * abs(p[inside].mean() - targets[inside].mean())
    assert metrics.CalibrationError(10)(targets, scores) == pytest.approx(expected, abs=1e-12)
    # probabilities that are frequencies are calibrated, up to the noise of 100,000 draws
    q = rng.uniform(0, 1, 100_000)
    drawn = rng.uniform(0, 1, q.size) < q
    assert metrics.CalibrationError()(drawn, np.log(q / (1 - q))) < 0.01


def test_metrics_of_columns_equal_sklearn(rng) -> None:
    from sklearn.metrics import (
        mean_absolute_error,
        r2_score,
        roc_auc_score,
        root_mean_squared_error,
    )

    labels, outputs = rng.integers(0, 2, (300, 3)), rng.normal(size=(300, 3))
    expected = roc_auc_score(labels, outputs, average="macro")
    assert metrics.MeanAUC()(labels, outputs) == pytest.approx(expected, abs=1e-12)
    truth = outputs + rng.normal(size=(300, 3))
    for name, reference in (("MeanAbsoluteError", mean_absolute_error), ("R2", r2_score)):
        found = getattr(metrics, name)()(truth, outputs)
        assert found == pytest.approx(reference(truth, outputs), rel=1e-12)
    # ours is of all columns together, scikit-learn's the mean of those of each
    expected = root_mean_squared_error(truth.ravel(), outputs.ravel())
    assert metrics.RootMeanSquaredError()(truth, outputs) == pytest.approx(expected, rel=1e-12)


def test_efficiency_as_a_metric(rng) -> None:
    targets, scores = separated(rng, 500)
    metric = metrics.EfficiencyAtFPR(0.05)
    assert metric(targets, scores) == efficiency_at_fpr(targets, scores, 0.05)
    assert metric.name == "efficiency_at_0.05"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PartialAUC", 0.0), ("PartialAUC", 1.1), ("EfficiencyAtFPR", 1.0), ("CalibrationError", 0)],
)
def test_arguments_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        getattr(metrics, name)(value)


def test_columns_that_do_not_fit_are_refused() -> None:
    for targets, outputs, message in (
        (np.zeros((3, 2)), np.zeros((3, 1)), "expected the same"),
        ([[np.nan]], [[0.0]], "1 of 1 targets are NaN"),
        ([[0.0]], [[np.nan]], "1 of 1 outputs are NaN"),
    ):
        with pytest.raises(UserError, match=message):
            metrics.MeanAbsoluteError()(targets, outputs)
    with pytest.raises(UserError, match="all targets of a column are the same"):
        metrics.R2()([1.0, 1.0], [0.0, 1.0])
