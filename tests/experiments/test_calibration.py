"""The reliability diagram, against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as reference_log_loss

from experiments.calibration import (
    calibration_words,
    log_loss,
    measure_reliability,
    wilson_interval,
)


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Targets and logits whose probabilities hold."""
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, 20_000)
    return (generator.random(20_000) < expit(logits)).astype(float), logits


def test_bins_are_those_of_scikit_learn(samples) -> None:
    targets, logits = samples
    found = measure_reliability(targets, logits)
    share, probability = calibration_curve(targets, expit(logits), n_bins=10, strategy="quantile")
    np.testing.assert_allclose(found.share, share, atol=2e-3)  # one sample lies across an edge
    np.testing.assert_allclose(found.probability, probability, atol=2e-3)
    assert found.counts.tolist() == [2000] * 10


def test_what_holds_lies_within_the_intervals_and_what_is_too_sure_does_not(samples) -> None:
    targets, logits = samples
    found = measure_reliability(targets, logits)
    inside = (found.low <= found.probability) & (found.probability <= found.high)
    assert inside.sum() >= 8
    assert found.gap < 0.01
    sure = measure_reliability(targets, 3 * logits)
    assert sure.gap > 0.1
    np.testing.assert_array_equal(sure.share, found.share)  # the order of samples is the same


def test_intervals_are_those_of_scipy() -> None:
    counts, signals = np.array([5, 40, 200, 7]), np.array([0, 13, 199, 7])
    low, high = wilson_interval(signals / counts, counts)
    for k, (n, hits) in enumerate(zip(counts.tolist(), signals.tolist(), strict=True)):
        expected = binomtest(hits, n).proportion_ci(method="wilson")
        assert (low[k], high[k]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_loss_is_the_cross_entropy_also_where_a_probability_rounds_to_one(samples) -> None:
    targets, logits = samples
    expected = reference_log_loss(targets, expit(logits))
    assert log_loss(targets, logits) == pytest.approx(expected, rel=1e-9)
    assert log_loss(np.array([0.0, 1.0]), np.array([50.0, 50.0])) == pytest.approx(25.0)
    assert log_loss(targets, 0 * logits) == pytest.approx(np.log(2))


def test_few_samples_make_fewer_bins() -> None:
    found = measure_reliability(np.array([0.0, 1.0, 1.0]), np.array([-1.0, 0.0, 1.0]))
    assert found.counts.tolist() == [1, 1, 1]
    assert (
        calibration_words(0.25, np.zeros(2), np.array([0, 1])) == "mean gap 0.250, log loss 0.693"
    )
