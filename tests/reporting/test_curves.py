"""Thinned ROC curves and histograms, against the full ones by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from reporting.curves import BINS, MOST_POINTS, MeasuredScores, measure_scores, thin_roc_curve


def distances(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The distance (n,) of each of (n, 2) points from a polyline (m, 2), by brute force."""
    start, along = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * along).sum(-1) / (along**2).sum(-1)
    nearest = start + share.clip(0, 1)[..., None] * along  # (n, m - 1, 2)
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)


def test_a_thinned_curve_is_made_of_true_points_and_says_how_far_it_strays() -> None:
    generator = np.random.default_rng(3)
    targets = np.arange(40_000) % 2
    scores = 1.5 * targets + generator.normal(size=targets.size)
    full = np.stack(roc_curve(targets, scores)[:2], axis=1)
    assert len(full) > 5_000
    curve = thin_roc_curve(*full.T)
    line = np.stack([curve.false_alarms, curve.efficiency], axis=1)
    assert len(line) <= MOST_POINTS
    assert line[0].tolist() == [0, 0]
    assert line[-1].tolist() == [1, 1]
    assert {tuple(point) for point in line} <= {tuple(point) for point in full}
    assert (np.diff(line, axis=0) >= 0).all()
    farthest = distances(full, line).max()
    assert farthest == pytest.approx(curve.worst, rel=1e-6)
    assert farthest < 1e-3
    area = np.trapezoid(line[:, 1], line[:, 0])
    assert area == pytest.approx(roc_auc_score(targets, scores), abs=1e-4)
    # On a logarithmic axis the first steps are far apart: all of their corners are kept.
    for rare in np.unique(full[:, 0])[:5]:
        corner = full[full[:, 0] == rare][-1]
        assert corner.tolist() in line.tolist()


def test_a_small_curve_stays_whole() -> None:
    generator = np.random.default_rng(4)
    targets = np.arange(80) % 2
    full = roc_curve(targets, targets + generator.normal(size=80))
    curve = thin_roc_curve(full[0], full[1])
    assert curve.worst == 0
    line = np.stack([curve.false_alarms, curve.efficiency], axis=1)
    assert distances(np.stack(full[:2], axis=1), line).max() < 1e-15


@pytest.mark.parametrize("scores", [np.zeros(50), np.linspace(-3, 1e9, 50)])
def test_every_sample_is_counted_in_the_histogram(scores: np.ndarray) -> None:
    targets = np.arange(50) % 5 == 0
    drawn = measure_scores(targets, scores).histogram
    assert len(drawn["noise"]) == len(drawn["signal"]) == BINS
    assert (sum(drawn["noise"]), sum(drawn["signal"])) == (40, 10)
    assert drawn["low"] < drawn["high"]


def test_an_auc_that_random_scores_might_have_is_guessing() -> None:
    # Two deviations of 2,000 signals and 2,000 of noise are 0.0183.
    of_samples = {"n": 4000, "signals": 2000}
    assert MeasuredScores(0.518, **of_samples).is_guessing
    assert not MeasuredScores(0.519, **of_samples).is_guessing
    assert MeasuredScores(0.2, **of_samples).is_guessing  # worse still
    # Of a score from summary.json only its own error is known.
    assert MeasuredScores(0.53, 0.02, stored=True).is_guessing
    assert not MeasuredScores(0.6, 0.02, stored=True).is_guessing
    assert not MeasuredScores(0.5, stored=True).is_guessing
