"""Runs killed at random moments end as if they had not been; `make chaos` kills a hundred."""

from __future__ import annotations

from pathlib import Path

import chaos
import torch


def test_ten_kills(tmp_path: Path) -> None:
    assert chaos.chaos(kills=10, jobs=1, seed=1, work=tmp_path) == []


def test_a_difference_would_be_seen() -> None:
    one = {"model": {"a": torch.ones(2)}, "state": {"history": [{"loss": 1.0, "seconds": 3.0}]}}
    two = {"model": {"a": torch.ones(2)}, "state": {"history": [{"loss": 1.0, "seconds": 4.0}]}}
    assert list(chaos.nested(one, two, "fold0.pt", torch)) == []
    two["model"]["a"] = torch.tensor([1.0, 1.0 + 2e-7])
    two["state"]["history"][0]["loss"] = float("nan")
    assert list(chaos.nested(one, two, "fold0.pt", torch)) == [
        "fold0.pt.model.a", "fold0.pt.state.history.0.loss",
    ]  # fmt: skip
