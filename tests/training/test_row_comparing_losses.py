"""Several processes learn what one learns: accumulated, and with a loss that compares rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from child_processes import run_ranks
from toy import make_trainer

from loss_functions import RankLoss
from runtime.console import LOGGER
from training_extras import MixupTrain


def train(folder: Path, processes: int, batch_size: int, *options: str) -> dict[str, np.ndarray]:
    """Return the history and the predictions of a small fit."""
    folder.mkdir()
    ended = run_ranks(toy.main, [str(folder), str(batch_size), *options], folder, processes)
    assert [code for code, _ in ended] == [0] * processes, ended
    with np.load(folder / "result.npz", allow_pickle=False) as content:
        return dict(content)


# A last batch of 8 + 7 rows, a last optimiser step of 47; and pairs of rows of both processes.
@pytest.mark.parametrize("options", [("--accumulate", "2"), ("--rank_loss",)])
def test_two_processes_learn_what_one_learns(tmp_path: Path, options: tuple[str, ...]) -> None:
    one = train(tmp_path / "one", 1, 32, "--rows", "175", *options)
    two = train(tmp_path / "two", 2, 16, "--rows", "175", *options)
    # The sums run in another order: float32 rounding, carried through the steps of Adam.
    np.testing.assert_allclose(two["history"], one["history"], atol=1e-5)
    np.testing.assert_allclose(two["prediction"], one["prediction"], atol=1e-4)


def test_what_an_accumulation_cannot_compute_is_said(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    with caplog.at_level("INFO", logger=LOGGER.name):
        make_trainer(tmp_path, batch_size=16, accumulate=4, criterion=RankLoss(rank=0.0))
        assert not caplog.records
        make_trainer(tmp_path, batch_size=16, accumulate=4, criterion=RankLoss(rank=0.9))
        make_trainer(tmp_path, batch_size=16, accumulate=4, hook=MixupTrain())
    rank, mixup = (record.getMessage() for record in caplog.records)
    assert rank.startswith("RankLoss compares rows with each other: with accumulate = 4 those")
    assert rank.endswith("within each batch of 16, not the 64 of an optimiser step")
    assert mixup.startswith("MixupTrain mixes each row with another of the same batch and process")
