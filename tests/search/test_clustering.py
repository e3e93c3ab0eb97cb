"""Clustering of triggers against a plain loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from search.clustering import find_loudest_within


def loudest_of_all_pairs(time: np.ndarray, score: np.ndarray, seconds: float) -> list[int]:
    kept = []
    for row in range(len(time)):
        near = np.flatnonzero(np.abs(time - time[row]) <= seconds)
        louder = near[(score[near] > score[row]) | ((score[near] == score[row]) & (near < row))]
        if len(louder) == 0:
            kept.append(row)
    return kept


@pytest.mark.parametrize("seconds", [0.1, 1.0, 7.0, 1e6])
def test_as_a_loop_over_all_pairs_finds(rng: np.random.Generator, seconds: float) -> None:
    for count in (0, 1, 2, 3, 64, 300):
        time = np.sort(rng.uniform(0, 100, count))
        score = rng.standard_normal(count).round(1)  # rounded: some are equal
        found = find_loudest_within(time, score, seconds)
        assert found.tolist() == loudest_of_all_pairs(time, score, seconds)


def test_the_first_of_equal_scores_is_kept() -> None:
    assert find_loudest_within(np.array([0.0, 1, 2]), np.ones(3), 5).tolist() == [0]
    assert find_loudest_within(np.array([0.0, 1, 2]), np.ones(3), 0.5).tolist() == [0, 1, 2]
