"""A run that ends without a score or without weights says so and does not exit with 0."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from child_processes import start
from small_run import command, make_data, run_here

import train
from configs import Demo
from configuration.config_class import ConfigMeta
from models1d import BranchedResNet1d
from training.checkpoints import load_checkpoint, save_checkpoint


class DeafNetwork(BranchedResNet1d):
    """It trains as usual, and says NaN of whatever it is validated on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        return logits if self.training else logits * torch.nan


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input", 48, 12)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `--config Demo` mean that network."""
    config = ConfigMeta("Demo", (Demo,), {"model": DeafNetwork, "published": {}}, register=False)
    monkeypatch.setitem(ConfigMeta.registry, "Demo", config)


@pytest.mark.usefixtures("deaf")
def test_a_fold_without_any_validation_score(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    line = command(data, results, "--limit_fold", "0")[2:]
    code, said = start(train.main, line, tmp_path / "output").wait()  # as a person runs it
    assert code == 2
    assert "Traceback" not in said
    assert "fold 0 of demo has no validation score in any epoch" in said.splitlines()[-1]
    assert not (results / "demo" / "predictions.npy").exists()


@pytest.mark.usefixtures("deaf")
def test_a_run_without_any_validation_score(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for arguments in ((), ("--resume",), ("--inference",)):  # nor does what follows
        done = run_here(data, results, *arguments, settings=("num_epochs=1",), code=2)
        assert "AUC" not in done.stdout
        assert done.stderr.count("\n") == 1


def test_predictions_that_are_all_nan(data: Path, tmp_path: Path) -> None:
    """Weights of NaN, of another run, are asked about samples that they have not seen."""
    other = make_data(tmp_path / "other", 12, 6, seed=5)
    results = tmp_path / "results"
    run_here(data, results, settings=("num_epochs=1",))
    shutil.move(results / "demo", results / "nan")
    for path in (results / "nan").glob("fold?.pt"):
        content = load_checkpoint(path)
        weights = {name: value * torch.nan for name, value in content["model"].items()}
        save_checkpoint(path, {"model": weights})
    for path in (results / "nan").glob("fold*"):
        if path.suffix == ".json" or path.stem.endswith("_last"):
            path.unlink()
    settings = ("name=demo", f"weight_path={results / 'nan'}")
    done = run_here(other, results, "--inference", settings=settings, code=2)
    expected = f"error: the out-of-fold logits in {results / 'demo'} have no score"
    assert done.stderr.startswith(expected)
    assert np.isnan(np.load(results / "demo" / "outoffolds.npy")).all()
