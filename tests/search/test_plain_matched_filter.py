"""The plain matched filter beside SNRs of numpy."""

from __future__ import annotations

import numpy as np
from small_bank import PAIR, chirp_network, noise_and_chirps, white_stretch

from search.plain_matched_filter import PlainMatchedFilterScorer


def test_its_score_is_the_sum_of_squared_snrs() -> None:
    scorer = PlainMatchedFilterScorer(chirp_network(), PAIR, 2)
    scorer.prepare(white_stretch(noise_and_chirps(10, [(5.0, 12.0, 90.0)])))
    found = scorer.peaks({}, 50.0)
    best = found.score.argmax()
    assert abs(found.time[best] - 1005) < 0.003
    np.testing.assert_allclose(found.score, np.square(found.snr).sum(1), rtol=0.02)
    np.testing.assert_allclose(found.detector_scores[best], found.snr[best] ** 2, rtol=0.02)
    assert found.score[best] > 200


def test_detectors_must_be_coincident() -> None:
    scorer = PlainMatchedFilterScorer(chirp_network(), PAIR, 2)
    scorer.prepare(white_stretch(noise_and_chirps(10, [(5.0, 12.0, 90.0)])))
    together = scorer.peaks({}, 50.0).score.max()
    apart = scorer.peaks({"L1": 2.0}, 50.0).score.max()
    assert apart < 0.75 * together
