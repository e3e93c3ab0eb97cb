"""Scores by a covariate, each against the AUC of its own rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments.breakdown import break_down, check_covariate, format_breakdown
from runtime.errors import UserError


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    targets = rng.permutation(np.arange(600) % 2)
    return targets, targets + rng.normal(size=600)


def test_each_value_is_scored_by_its_own_rows(rows, rng: np.random.Generator) -> None:
    targets, scores = rows
    month = rng.integers(1, 13, 600)
    found = break_down(month.astype(str), targets, scores)
    assert [row["label"] for row in found] == [str(k) for k in range(1, 13)]  # as numbers
    for row in found:
        chosen = month == int(row["label"])
        assert row["n"] == chosen.sum()
        assert row["auc"] == pytest.approx(roc_auc_score(targets[chosen], scores[chosen]))
        assert 0 < row["auc_error"] < 0.2


def test_an_snr_is_compared_with_all_noise(rows, rng: np.random.Generator) -> None:
    targets, scores = rows
    snr = rng.uniform(4, 20, 600)
    words = np.where(targets == 1, snr.astype(str), "")
    found = break_down(words, targets, scores)
    assert len(found) == 5
    assert sum(row["signals"] for row in found) == 300
    edges = np.quantile(snr[targets == 1], [0, 0.2])
    first = (targets == 0) | ((snr >= edges[0]) & (snr < edges[1]))
    assert found[0]["n"] == 300 + found[0]["signals"] == first.sum()
    assert found[0]["auc"] == pytest.approx(roc_auc_score(targets[first], scores[first]))


def test_values_of_one_class_have_no_score(rows) -> None:
    targets, scores = rows
    words = np.where(targets == 1, "loud", "quiet")
    found = break_down(words, targets, scores)
    assert [(row["label"], row["signals"], row["auc"]) for row in found] == [
        ("loud", 300, None),
        ("quiet", 0, None),
    ]
    assert format_breakdown("how", found) == "AUC by how: loud: -, quiet: -."


def test_covariates_that_tell_nothing() -> None:
    with pytest.raises(UserError, match="no training sample has a value of 'snr'"):
        check_covariate("snr", np.array(["", "nan"]))
    with pytest.raises(UserError, match="'id' has 30 different values that are no numbers"):
        check_covariate("id", np.array([f"s{k}" for k in range(30)]))
    check_covariate("gps", np.arange(1000).astype(str))
