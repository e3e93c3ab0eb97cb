"""Blips beside mergers: what is drawn, how scores are compared, and the command line."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.detection import glitches
from runtime.errors import UserError
from transforms import Whiten

pytest.importorskip("lalsimulation")


@pytest.fixture(autouse=True)
def _small_bank(monkeypatch) -> None:
    from benchmarks.detection.holdout import HoldoutSettings

    monkeypatch.setattr(
        glitches, "HoldoutSettings", functools.partial(HoldoutSettings, bank_size=8)
    )


def test_blips_are_in_one_detector_and_mergers_in_all(cache: Path) -> None:
    blips, mergers = glitches.draw_blips_and_mergers(70, 25.0, 12.0, cache_dir=cache)
    assert len(blips) == len(mergers) == 70
    # The same noise lies under both, so that two detectors of each pair differ by the merger alone.
    assert not torch.equal(blips.batch(0, 70), mergers.batch(0, 70))
    louder, other = glitches.draw_blips_and_mergers(70, 50.0, 24.0, cache_dir=cache)
    added = (louder.strain - blips.strain).abs().amax(-1) > 0
    assert (added.sum(1) == 1).all()
    # What is added is the signal once more: of SNR 12 in all detectors together.
    white = Whiten()(other.strain - mergers.strain)
    np.testing.assert_allclose(white.square().sum((1, 2)).sqrt(), 12.0, rtol=2e-3)
    again, _ = glitches.draw_blips_and_mergers(70, 25.0, 12.0, cache_dir=cache)
    assert torch.equal(again.strain, blips.strain)


def test_pairs_ranked_rightly_are_counted() -> None:
    found = glitches.compare_scores(np.array([0.0, 2.0, 4.0, 4.0]), np.array([1.0, 3.0, 5.0, 4.0]))
    # 4 + 3 + 1.5 + 1.5 of 16 pairs, blip by blip; ties count one half.
    assert found["ranked"] == pytest.approx(10 / 16)
    assert found["blips"][2] == 3.0


def test_areas_of_networks_on_the_same_samples() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(400) % 2
    first = rng.normal(targets, 1.0)
    near = np.round(first + rng.normal(0, 0.2, 400), 1)  # with ties
    found = glitches.compare_networks(targets, {"a": first, "b": near})
    assert found["a"]["difference"] == found["a"]["difference_error"] == 0
    pairs = near[targets == 1][:, None] - near[targets == 0]
    area = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert found["b"]["auc"] == pytest.approx(area)
    assert found["b"]["difference"] == pytest.approx(area - found["a"]["auc"])
    # Paired: the error is that of resampled samples, smaller than that of either area.
    differences = []
    for _ in range(300):
        rows = np.concatenate([rng.choice(np.flatnonzero(targets == k), 200) for k in (0, 1)])
        both = glitches.compare_networks(targets[rows], {"a": first[rows], "b": near[rows]})
        differences.append(both["b"]["difference"])
    assert found["b"]["difference_error"] == pytest.approx(np.std(differences), rel=0.15)
    assert found["b"]["difference_error"] < 0.6 * found["b"]["error"]


def test_the_command_line(runs: Path, cache: Path, capsys, monkeypatch) -> None:
    out = runs / "figures.json"
    line = ["--config", "Demo", "--results", str(runs), "--samples", "8", "--out", str(out)]
    monkeypatch.setenv("G2NET_CACHE", str(cache))
    for _ in range(2):
        assert glitches.main([*line, "--gaussian", "16"]) == 0
    said = capsys.readouterr().out
    assert "demo: " in said
    assert "by +0.0000 ± 0.0000 from the first" in said
    entry = json.loads(out.read_text())["networks"]["demo"]
    assert 0 <= entry["ranked"] <= 1
    assert 0 <= entry["gaussian"]["auc"] <= 1
    with pytest.raises(UserError, match="Demo, Mdc1ResNet are of different observations"):
        glitches.main(["--config", "Demo", "Mdc1ResNet", *line[2:]])
    with pytest.raises(UserError, match="4 or more samples"):
        glitches.main([*line, "--samples", "2"])
    with pytest.raises(UserError, match=r"fold<k>\.pt to score Demo with"):
        glitches.main(["--config", "Demo", "--results", str(runs / "nothing")])
