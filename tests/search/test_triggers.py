"""Triggers: local peaks of the scores, also of scores that arrive piece by piece."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from search.triggers import HISTOGRAM_EDGES, TriggerFinder, count_by_score, find_local_peaks


def test_peaks():
    scores = np.array([0, 3, 1, 2, np.nan, 5, 5, 0, 1, -9])
    assert find_local_peaks(scores, 1).tolist() == [1, 3, 5, 8]
    assert find_local_peaks(scores, 2).tolist() == [1, 5]
    assert find_local_peaks(np.full(4, np.nan), 2).tolist() == []


@pytest.mark.parametrize("reach", [1, 3, 7])
def test_peaks_in_pieces_are_those_of_the_whole(rng, reach):
    scores = rng.standard_normal(500).round(1)  # rounded: some are equal
    scores[rng.random(500) < 0.1] = np.nan
    expected = find_local_peaks(scores, reach)
    for sizes in ([500], [100] * 5, [3] * 166 + [2], [1] * 500, [250, 1, 249]):
        edges = np.cumsum([0, *sizes])
        finder, found = TriggerFinder(reach), []
        for low, high in itertools.pairwise(edges):
            found += finder.push(scores[low:high], end=high == 500)
        assert [number for number, _ in found] == expected.tolist()
        assert all(score == scores[number] for number, score in found)


def test_scores_beyond_the_histogram_count_in_its_outermost_bins():
    counts = count_by_score(np.array([-1e3, 0.01, 0.02, 1e3]))
    assert len(counts) == len(HISTOGRAM_EDGES) - 1
    assert counts.sum() == 4
    assert (counts[0], counts[-1]) == (1, 1)
    assert counts[np.searchsorted(HISTOGRAM_EDGES, 0.01) - 1] == 2
