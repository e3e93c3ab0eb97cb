"""A small hold-out, two banks of templates and a run, computed once for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detection_examples import SMALL

from benchmarks.detection.holdout import open_holdout
from benchmarks.detection.likelihood import STEP
from benchmarks.detection.templates import TemplateBank
from configs import Demo
from experiments.building import build_model
from training.checkpoints import save_checkpoint


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A folder for samples and scores; the whitening matrices stay where they are."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def holdout(cache: Path):
    pytest.importorskip("lalsimulation")
    return open_holdout(SMALL, cache)


@pytest.fixture(scope="session")
def bank() -> TemplateBank:
    return TemplateBank(2)


@pytest.fixture(scope="session")
def coarse() -> TemplateBank:
    return TemplateBank(2, STEP)


@pytest.fixture
def runs(tmp_path) -> Path:
    for fold in range(2):
        torch.manual_seed(fold)
        save_checkpoint(
            tmp_path / "demo" / f"fold{fold}.pt", {"model": build_model(Demo).state_dict()}
        )
        # holds no network to score, and says that the training has ended
        state = {"epoch": Demo.num_epochs, "finished": True}
        save_checkpoint(tmp_path / "demo" / f"fold{fold}_last.pt", {"state": state})
    return tmp_path
