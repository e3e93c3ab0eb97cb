"""`--dry_run` of every family of experiments, and where the first weights come from."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from command_here import run_main
from paths import ROOT

import configs
import train
from experiments.dry_run import shrink_to_dry_run
from experiments.run_options import RunOptions
from training.checkpoints import load_checkpoint

# tests/test_config_models.py has these networks at their published sizes. Here the way of a run is
# tested, which is the same with small images, few filters and few layers.
IMAGE = "model_params.resize_img=(64,128)"
FEW_FILTERS = "model_params.spec_params.base_filters=32"
FEW_LAYERS = "model_params.block_config=(2,2)"
FAMILIES = {
    "Resized08aug4": (IMAGE,),  # CQT
    "Nspec12": (IMAGE,),  # band-pass alone, timm's own head
    "Nspec16": (IMAGE,),  # CWT of a trainable width, GeM head
    "Nspec22aug1": (IMAGE, FEW_FILTERS),  # WaveNet front-end
    "Nspec23": (IMAGE, FEW_FILTERS),  # CNN front-end
    # CWT, patches, a transformer
    "MultiInstance04": (IMAGE, "model_params.spec_params.n_scales=64"),
    "Seq02": ("model_params.n_block=4",),  # ResNet1d
    "Seq09": (FEW_LAYERS,),  # DenseNet1d
    "Seq12": ("model_params.hidden_dims=(16,32,64,128)",),  # WaveNet1d
    "PseudoSeq03": (FEW_LAYERS,),  # with pseudo-labels
    "Wave01": (),  # on injections that are drawn
    "Wave03": (),  # from the weights of another, ranks
    "Spec02": (),  # a front-end learnt on whitened strain
}
# One of each script goes through its command line; all others run in this process.
BY_COMMAND_LINE = {"Seq02", "PseudoSeq03"}


@pytest.fixture(autouse=True)
def _without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def dry_run(
    config: str, results: Path, *extra: str, settings: Sequence[str] = (), code: int = 0
) -> subprocess.CompletedProcess[str]:
    pseudo = config.startswith("Pseudo")
    line = ["--config", config, "--dry_run", "--results", str(results), *extra]
    line += ["--set", "train_path=nowhere/train.csv", *settings]
    if config in BY_COMMAND_LINE and not code:
        script = str(ROOT / ("train_pseudo.py" if pseudo else "train.py"))
        done = subprocess.run([sys.executable, script, *line], capture_output=True, text=True)
    else:
        done = run_main(functools.partial(train.main, pseudo=pseudo), line)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    "config",
    [pytest.param(name, marks=pytest.mark.slow if name == "Nspec12" else ()) for name in FAMILIES],
)
def test_two_batches_one_epoch_two_folds(config: str, tmp_path: Path) -> None:
    done = dry_run(config, tmp_path, "--no_pretrained", "--tta", settings=FAMILIES[config])
    assert "invented noise" in done.stdout
    # Two batches of two may well be of one class.
    assert "stratified folds" not in done.stdout + done.stderr
    assert ("invented labels" in done.stdout) == config.startswith("Pseudo")
    (folder,) = (path for path in (tmp_path / "dry_run").iterdir() if path.name != "invented_noise")
    for fold in range(2):
        state = load_checkpoint(folder / f"fold{fold}.pt", ("model", "state"))["state"]
        assert state["epoch"] == 1
        assert state["finished"]
    assert not (folder / "fold2.pt").exists()
    predictions = np.load(folder / "predictions_tta.npy")
    assert predictions.shape == (5, 4, 1)
    assert np.isfinite(predictions[:2]).all()
    assert np.isnan(predictions[2:]).all()


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    """`weight_path` names an experiment, whose run lies in the same results folder."""
    settings = ("num_epochs=1", "batch_size=2", "cv=2", "ema_decay=none")
    done = dry_run("Wave02", tmp_path, "--no_pretrained")
    assert "starts from random weights" in done.stdout
    noise = tmp_path / "dry_run" / "invented_noise"
    data = (f"train_path={noise / 'train.csv'}", f"test_path={noise / 'test.csv'}")
    slow = ("optimizer_params.lr=1e-12", "optimizer_params.weight_decay=0.0")
    few = (
        "dataset_params.bank_size=32",
        "dataset_params.pool=8",
        "dataset_params.samples_per_epoch=4",
    )

    def fit(config: str, *more: str, code: int = 0) -> str:
        line = ["--config", config, "--results", str(tmp_path), "--limit_fold", "0"]
        done = run_main(train.main, [*line, "--set", *settings, *data, *more])
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    assert "wave_01/fold0.pt does not exist" in fit("Wave02", code=2)
    fit("Wave01", *few)
    fit("Wave02", *slow)
    first, second = (
        load_checkpoint(tmp_path / name / "fold0.pt", ("model",))["model"]
        for name in ("wave_01", "wave_02")
    )
    weight = "classifier.weight"
    assert torch.allclose(first[weight], second[weight], rtol=0, atol=1e-9)


def test_a_dry_run_computes_no_bank_for_filters(tmp_path: Path) -> None:
    small, _ = shrink_to_dry_run(configs.Wave06, RunOptions(results=tmp_path))
    assert small.model_params == {**configs.Wave06.model_params, "pretrained": False}


def test_weights_that_cannot_be_had_name_the_ways_out(tmp_path: Path) -> None:
    """Nothing listens on port 9 of this machine: a hub that does not answer.

    In a process of its own, as the hub's address is read once.
    """
    line = [sys.executable, str(ROOT / "train.py"), "--config", "Nspec16", "--dry_run"]
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | nowhere)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    for part in ("tf_efficientnet_b2.aa_in1k", "cannot be", "--no_pretrained", "--weights FILE"):
        assert part in done.stderr


SMALL = ("model_params.model_name=test_efficientnet.r160_in1k", "model_params.resize_img=(64,96)")


def test_weights_from_a_local_file(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    source = timm.create_model("test_efficientnet", num_classes=1000)
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    # A learning rate of nothing: what is saved is what it began with.
    still = ("optimizer_params.lr=0.0", "optimizer_params.weight_decay=0.0")
    dry_run("Nspec16", tmp_path, "--weights", str(path), settings=(*SMALL, *still))
    saved = load_checkpoint(tmp_path / "dry_run" / "nspec_16" / "fold1.pt")["model"]
    name = "conv_stem.weight"
    (found,) = (key for key in saved if key.endswith(name))
    torch.testing.assert_close(saved[found], source.state_dict()[name])
    assert not any("classifier.weight" in key and saved[key].shape[0] == 1000 for key in saved)


@pytest.mark.parametrize(
    ("config", "file", "message"),
    [
        ("Seq02", "weights.pt", "no backbone of timm to load it into"),
        ("Nspec16", "missing.pt", "does not exist"),
        ("Nspec16", "other.pt", "does not hold the weights of"),
        ("Nspec16", "text.pt", "cannot be read as tensors alone"),
    ],
)
def test_weights_that_do_not_serve(tmp_path: Path, config: str, file: str, message: str) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("no tensors")
    settings = SMALL if config == "Nspec16" else ("cv=5",)
    done = dry_run(config, tmp_path, "--weights", str(tmp_path / file), settings=settings, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
