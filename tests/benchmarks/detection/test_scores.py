"""Scores are kept, and the figures computed from them are right."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from detection_examples import CPU

from benchmarks.detection.scores import (
    KnownSignal,
    binomial_error,
    detection_figures,
    efficiency,
    load_scores,
    scores_of,
)
from runtime.errors import UserError
from runtime.files import read_json

pytest.importorskip("lalsimulation")


def test_figures_are_those_of_the_scores(rng) -> None:
    targets = np.arange(4000) % 2
    snr = np.where(targets == 1, rng.uniform(3.7, 15, 4000), 0)
    found = detection_figures(targets, snr, rng.normal(size=4000) + snr)
    assert [grade["low"] for grade in found["grades"]] == [0.0, 4.5, 6.0, 8.0, 12.0]
    assert found["grades"][-1]["high"] is None
    assert sum(grade["signals"] for grade in found["grades"]) == 2000
    aucs = [grade["auc"] for grade in found["grades"]]
    assert aucs == sorted(aucs)
    # the threshold at 0.1 lies at 1.28
    expected = np.mean([0.5 * math.erfc((1.2816 - s) / 2**0.5) for s in snr[targets == 1]])
    at = found["efficiencies"]["0.1"]
    assert abs(at["efficiency"] - expected) < 3 * at["error"]
    assert at["error"] >= at["binomial_error"] > 0
    assert json.loads(json.dumps(found)) == found
    assert found["roc"][0][0] == 0.001
    efficiencies = [pair[1] for pair in found["roc"]]
    assert efficiencies == sorted(efficiencies)


def test_errors_of_efficiencies(rng) -> None:
    assert binomial_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)
    assert binomial_error(1.0, 100) > 0
    spread = []
    for _ in range(200):
        scores = np.concatenate([rng.normal(size=500), rng.normal(size=500) + 2])
        spread.append(efficiency(np.arange(1000) // 500, scores, 0.01))
    observed = np.std([each["efficiency"] for each in spread])
    assert observed == pytest.approx(np.mean([each["error"] for each in spread]), rel=0.35)


class Counting:
    """A scorer that says how often it was asked."""

    key, names = "counting", ("counting",)

    def __init__(self, value: float = 0.0) -> None:
        self.value, self.calls = value, 0

    def settings(self) -> dict:
        return {"value": self.value}

    def rows(self, holdout) -> int:
        return len(holdout)

    def compute(self, holdout, device, show_progress=None) -> np.ndarray:
        self.calls += 1
        return np.full((1, len(holdout)), self.value)


def test_scores_are_computed_once(holdout, tmp_path) -> None:
    scorer = Counting()
    first = scores_of(scorer, holdout, CPU, tmp_path)
    again = scores_of(scorer, holdout, CPU, tmp_path)
    assert scorer.calls == 1
    assert (first.kept, again.kept) == (False, True)
    np.testing.assert_array_equal(first.values, again.values)
    scores_of(scorer, holdout, CPU, tmp_path, anew=True)
    scores_of(Counting(1.0), holdout, CPU, tmp_path)
    assert scorer.calls == 2
    assert len(list(tmp_path.glob("scores-*.npy"))) == 2


def test_damaged_scores_are_computed_anew(holdout, tmp_path) -> None:
    scorer = Counting()
    scores_of(scorer, holdout, CPU, tmp_path)
    (header,) = tmp_path.glob("scores-*.json")
    header.with_suffix(".npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a plain numpy array"):
        load_scores(header, read_json(header)["settings"], (1, 24))
    np.testing.assert_array_equal(scores_of(scorer, holdout, CPU, tmp_path).values, 0)
    assert scorer.calls == 2
    with pytest.raises(UserError, match="does not hold the scores"):
        load_scores(header, {"other": 1}, (1, 24))


def test_scores_that_are_not_numbers_are_refused(holdout, tmp_path) -> None:
    with pytest.raises(UserError, match="24 of them NaN"):
        scores_of(Counting(math.nan), holdout, CPU, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_known_signal_is_scored(holdout, tmp_path) -> None:
    scores = scores_of(KnownSignal(), holdout, CPU, tmp_path)
    assert detection_figures(holdout.targets, holdout.snr, scores.values[0])["auc"] > 0.95
