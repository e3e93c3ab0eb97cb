"""Scores of a run against scikit-learn and exact arithmetic, where float32 would tie."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments.scores import auc_with_error, aucs_by_fold, blend_folds, ordered_probabilities
from metrics import delong_error
from runtime.errors import UserError


def test_aucs_by_fold(rng: np.random.Generator) -> None:
    folds, targets = np.arange(300) % 3, (np.arange(300) // 3) % 2
    targets[folds == 2] = 1  # one class: no score
    scores = rng.normal(size=300) + targets
    aucs = aucs_by_fold(targets, scores, folds)
    assert list(aucs) == [0, 1]
    for fold, auc in aucs.items():
        rows = folds == fold
        assert auc == pytest.approx(roc_auc_score(targets[rows], scores[rows]), abs=1e-12)


def test_auc_with_error(rng: np.random.Generator) -> None:
    targets = np.arange(200) % 2
    scores = rng.normal(size=200) + targets
    auc, error = auc_with_error(targets, scores)
    assert auc == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    assert error == delong_error(targets, scores)
    assert auc_with_error(np.array([0, 0, 1]), np.array([0.0, 1.0, 2.0])) == (1.0, None)
    with pytest.raises(UserError, match="undefined without both"):
        auc_with_error(np.zeros(5), np.arange(5.0))


def test_the_blend_of_folds_is_the_mean_probability(rng: np.random.Generator) -> None:
    logits = rng.normal(0, 3, size=(5, 200)).astype(np.float32)
    mean = (1 / (1 + np.exp(-logits.astype(np.float64)))).mean(0)
    np.testing.assert_allclose(blend_folds(logits), np.log(mean / (1 - mean)), rtol=1e-9)


def test_the_blend_does_not_saturate(rng: np.random.Generator) -> None:
    """Loud signals: float32 probabilities tie, and the AUC of the ties is another number."""
    targets = np.arange(4000) % 2
    logits = (18 + 4 * rng.normal(size=(5, 4000)) + targets).astype(np.float32)
    float32 = (1 / (1 + np.exp(-logits))).mean(0)
    assert (float32 == 1).sum() > 100
    blend = blend_folds(logits)
    assert len(np.unique(blend)) == 4000
    # (1 − p) in exact arithmetic on the float64 values of σ(−x), which has all of its digits there
    below = 1 / (1 + np.exp(logits.astype(np.float64)))
    exact = np.array([float(sum(map(Fraction, column))) for column in below.T])
    assert roc_auc_score(targets, blend) == roc_auc_score(targets, -exact)
    assert roc_auc_score(targets, blend) != roc_auc_score(targets, float32)


@pytest.mark.parametrize("centre", [-800, -40, 0, 25, 40, 800])
def test_probabilities_keep_the_order(rng: np.random.Generator, centre: float) -> None:
    log_odds = centre + rng.normal(size=1000) * 1e-3
    log_odds[:10] = log_odds[10:20]  # true ties stay ties
    p = ordered_probabilities(log_odds)
    assert 0 <= p.min() <= p.max() <= 1
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-np.clip(log_odds, -700, 700))), atol=1e-12)
    order = np.argsort(log_odds)
    np.testing.assert_array_equal(np.diff(p[order]) > 0, np.diff(log_odds[order]) > 0)


def test_probabilities_that_need_no_help_are_the_sigmoid(rng: np.random.Generator) -> None:
    from scipy.special import expit

    log_odds = rng.normal(0, 3, size=1000)
    np.testing.assert_array_equal(ordered_probabilities(log_odds), expit(log_odds))
