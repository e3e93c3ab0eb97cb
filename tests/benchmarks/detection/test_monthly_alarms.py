"""Shares that are found at the thresholds of a search, and searches that do not belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.detection.monthly_alarms import MonthlyAlarms
from benchmarks.detection.networks import NetworkScorer
from benchmarks.detection.report import format_monthly
from benchmarks.mdc.searches import describe_scoring
from configs import Demo
from experiments.building import build_model
from runtime.errors import UserError
from runtime.files import write_json
from training.checkpoints import save_checkpoint


@pytest.fixture
def scorer(runs: Path) -> NetworkScorer:
    return NetworkScorer(Demo, runs / "demo")


def write_run(path: Path, scorer: NetworkScorer) -> MonthlyAlarms:
    """Write figures of benchmarks.mdc, of which the lowest rate is not resolved."""
    rows = [
        {"rate": 1000.0, "threshold": 2.0, "unresolved": None},
        {"rate": 100.0, "threshold": 3.5, "unresolved": None},
        {"rate": 1.0, "unresolved": "needs 30 d of background"},
    ]
    scoring = describe_scoring(scorer.config, scorer.views, scorer.weights())
    searches = {
        "plain": {"settings": {"scoring": {}}, "rows": []},
        "demo": {"settings": {"scoring": scoring}, "rows": rows},
    }
    write_json(path, {"described": {"sentence": "Noise of a day."}, "searches": searches})
    return MonthlyAlarms.read(path)


def test_shares_are_counted_above_the_thresholds(scorer: NetworkScorer, tmp_path: Path) -> None:
    alarms = write_run(tmp_path / "sensitivity.json", scorer)
    targets, scores = np.array([1, 1, 1, 1, 0, 0]), np.array([1.0, 2.5, 3.0, 9.0, 5.0, 1.0])
    found = alarms.figures(scorer, targets, scores)
    assert [(row["rate"], row["efficiency"]) for row in found["rows"]] == [
        (1000, 0.75),
        (100, 0.25),
    ]
    # Agresti and Coull, as if two more had been found and two more missed: 5 of 8
    assert found["rows"][0]["error"] == pytest.approx(np.sqrt(5 / 8 * 3 / 8 / 8))
    entry = {"auc": 0.9, "monthly": found}
    sentence, _, *table = format_monthly({"detectors": {"demo": entry, "other": {"auc": 0.8}}})
    assert "(Noise of a day)" in sentence
    assert table[0] == "| network | 1,000 a month | 100 a month |"
    assert table[2].startswith("| demo | 0.750 ± 0.171 | 0.250 ±")
    assert format_monthly({"detectors": {"other": {"auc": 0.8}}}) == []


def test_searches_with_other_networks_do_not_belong(scorer: NetworkScorer, tmp_path: Path) -> None:
    alarms = write_run(tmp_path / "sensitivity.json", scorer)
    with pytest.raises(UserError, match="no search with the networks of demo, with views"):
        alarms.rows_of(NetworkScorer(Demo, scorer.folder, tuple(Demo.views)))
    torch.manual_seed(7)
    save_checkpoint(scorer.folder / "fold0.pt", {"model": build_model(Demo).state_dict()})
    with pytest.raises(UserError, match=r"python -m benchmarks.mdc --config Demo"):
        alarms.rows_of(scorer)


def test_other_files_are_refused(scorer: NetworkScorer, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    write_json(path, {"described": {}})
    with pytest.raises(UserError, match="has no entry 'searches'"):
        MonthlyAlarms.read(path)
    write_json(path, {"searches": {"demo": {}}})
    with pytest.raises(UserError, match="is damaged"):
        MonthlyAlarms.read(path).rows_of(scorer)
