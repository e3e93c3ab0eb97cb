"""Blips beside mergers: what is drawn, how scores are compared, and the command line."""

from __future__ import annotations

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

    monkeypatch.setattr(glitches, "HoldoutSettings", lambda: HoldoutSettings(bank_size=8))


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


def test_the_command_line(runs: Path, cache: Path, capsys, monkeypatch) -> None:
    out = runs / "figures.json"
    line = ["--config", "Demo", "--results", str(runs), "--samples", "8", "--out", str(out)]
    monkeypatch.setenv("G2NET_CACHE", str(cache))
    for _ in range(2):
        assert glitches.main(line) == 0
    assert "demo: " in capsys.readouterr().out
    entry = json.loads(out.read_text())["networks"]["demo"]
    assert 0 <= entry["ranked"] <= 1
    with pytest.raises(UserError, match="4 or more samples"):
        glitches.main([*line, "--samples", "2"])
    with pytest.raises(UserError, match=r"fold<k>\.pt to score Demo with"):
        glitches.main(["--config", "Demo", "--results", str(runs / "nothing")])
