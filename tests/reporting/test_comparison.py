"""Differences of AUCs on the same samples, against a bootstrap of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_runs import Samples, make, read_by_name, write_run
from sklearn.metrics import roc_auc_score

from metrics import paired_delong_error
from reporting.comparison import (
    NORMAL_95,
    AlignedScores,
    PairedDifference,
    compare_scores,
    to_the_best,
)


def make_scores(n: int = 400) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return targets, and scores of two runs that share most of their noise, and of a third."""
    generator = np.random.default_rng(2)
    targets = np.arange(n) % 2
    shared = generator.normal(size=n) + 1.2 * targets
    return targets, {
        "one": shared + 0.3 * generator.normal(size=n),
        "other": shared + 0.4 * generator.normal(size=n),
        "far": 0.2 * targets + generator.normal(size=n),
    }


def bootstrap(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the standard deviation of the difference over resampled samples."""
    generator = np.random.default_rng(7)
    signal, noise = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)
    found = []
    for _ in range(400):
        rows = np.concatenate([generator.choice(part, len(part)) for part in (signal, noise)])
        found.append(
            roc_auc_score(targets[rows], first[rows]) - roc_auc_score(targets[rows], second[rows])
        )
    return float(np.std(found, ddof=1))


def test_the_interval_is_that_of_a_bootstrap_and_of_the_closed_form() -> None:
    targets, scores = make_scores()
    aligned = {k: AlignedScores("A", targets, v) for k, v in enumerate(scores.values())}
    found = {(each.first, each.second): each for each in compare_scores(aligned)}
    assert list(found) == [(0, 1), (0, 2), (1, 2)]
    for (first, second), each in found.items():
        one, other = list(scores.values())[first], list(scores.values())[second]
        areas = roc_auc_score(targets, one) - roc_auc_score(targets, other)
        assert each.difference == pytest.approx(areas, abs=1e-12)
        half = (each.high - each.low) / 2
        assert half == pytest.approx(NORMAL_95 * paired_delong_error(targets, one, other))
        assert half == pytest.approx(NORMAL_95 * bootstrap(targets, one, other), rel=0.12)
    # The paired interval is much narrower than one of two separate samples would be.
    assert found[0, 1].high - found[0, 1].low < 0.5 * (found[0, 2].high - found[0, 2].low)
    assert found[0, 2].is_clear


def test_only_runs_of_the_same_samples_are_compared() -> None:
    targets, scores = make_scores(60)
    aligned = {
        0: AlignedScores("A", targets, scores["one"]),
        3: AlignedScores("B", targets, scores["other"]),
        5: AlignedScores("A", targets, scores["far"]),
        6: AlignedScores("A", np.zeros(60), scores["far"]),  # one class has no AUC
    }
    assert [(each.first, each.second) for each in compare_scores(aligned)] == [(0, 5)]


def test_each_is_compared_with_the_best() -> None:
    pairs = [(0, 1, -0.02), (0, 2, 0.01), (1, 2, 0.03)]
    found = [PairedDifference(a, b, d, d - 0.015, d + 0.015) for a, b, d in pairs]
    best = to_the_best(found)
    assert [(each.first, each.second, each.is_clear) for each in best] == [
        (0, 1, True),
        (2, 1, True),
    ]
    assert best[1].difference == -0.03
    assert (best[1].low, best[1].high) == pytest.approx((-0.045, -0.015))


def test_the_page_compares_runs_whose_rows_are_in_another_order(
    results: Path, samples: Samples, tmp_path: Path
) -> None:
    folder = write_run(results, "turned", samples, tmp_path / "input", seed=2)
    for name in ("ids_train", "outoffolds", "folds"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[::-1])
    page = make(results)
    runs = read_by_name(results)
    assert runs["turned"].samples == runs["whole"].samples
    names = [run["name"] for run in page.data["runs"]]
    ((first, second, difference, low, high),) = page.data["pairs"]["oof"]
    expected = (runs[names[k]].variants["plain"].oof.auc for k in (first, second))
    assert difference == pytest.approx(next(expected) - next(expected), abs=1e-6)
    assert low < difference < high
    turned = np.load(folder / "outoffolds.npy")[::-1, 0]
    whole = np.load(results / "whole" / "outoffolds.npy")[:, 0]
    error = paired_delong_error(samples["train"][1], turned, whole)
    assert (high - low) / 2 == pytest.approx(NORMAL_95 * error, abs=2e-6)
    assert "Differences to the best run, out of fold" in page.words()


def test_a_single_run_has_nothing_to_be_compared_with(results: Path) -> None:
    assert "there are none" in make(results).words()
