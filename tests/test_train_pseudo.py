"""The command line of a pseudo-label stage, and the proof that its labels leak nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_run import SMALL, make_data, same_arrays
from small_run import run_here as run

import configs
from configuration.overrides import override
from experiments.building import build_model, build_transforms, observation_of
from experiments.experiment import Experiment
from experiments.run_options import RunOptions
from training.checkpoints import load_model

PSEUDO = {"config": "PseudoDemo", "script": "train_pseudo.py"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input")


@pytest.fixture(scope="module")
def results(data: Path, tmp_path_factory) -> Path:
    """A trained Demo and the PseudoDemo that learns from it."""
    results = tmp_path_factory.mktemp("results")
    run(data, results)
    done = run(data, results, **PSEUDO)
    assert "24 of 24 test samples join the training with labels of demo" in done.stdout
    return results


def test_it_leaves_what_a_run_leaves(results: Path) -> None:
    folder = results / "pseudo_demo"
    assert np.isfinite(np.load(folder / "outoffolds.npy")).all()
    assert np.load(folder / "predictions.npy").shape == (2, 24, 1)
    figures = json.loads((folder / "pseudo_labels.json").read_text())
    assert figures["samples"] == 24
    config = json.loads((folder / "config.json").read_text())
    assert config["pseudo_labels"]["source"] == "demo"


def captured_sets(config, results: Path, data: Path) -> list[tuple]:
    """Return the training and validation set that each fold's trainer is given."""
    paths = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    run = Experiment(
        override(config, [*SMALL, *paths]), RunOptions(results=results), torch.device("cpu")
    )
    return [run.prepare_fold(run.plan_to_begin(fold))[1:] for fold in run.fold_numbers]


def test_labels_of_a_fold_come_from_the_network_that_never_saw_its_validation_rows(
    results: Path, data: Path
) -> None:
    parent = captured_sets(configs.Demo, results, data)
    child = captured_sets(configs.PseudoDemo, results, data)
    config = override(configs.Demo, SMALL)
    transform = build_transforms(config.transforms["test"], observation_of(config))
    test = pd.read_csv(data / "test.csv")
    strain = np.stack([np.load(data / path) for path in test["path"]])
    for fold in range(2):
        (taught, _), (learner, validation) = parent[fold], child[fold]
        # The network of fold k: what it was taught, and what it says of the test samples.
        model = build_model(config).eval()
        load_model(model, results / "demo" / f"fold{fold}.pt")
        with torch.inference_mode():
            logits = model(transform(torch.tensor(strain, dtype=torch.float32)))
        labels = learner.targets[learner.n_real :]
        np.testing.assert_allclose(labels, logits.sigmoid().flatten().numpy(), atol=1e-5)
        assert learner.names[learner.n_real :].astype(str).tolist() == test["id"].tolist()
        assert set(taught.names).isdisjoint(validation.names)
        # And nothing of the test samples is validated.
        assert set(validation.names).isdisjoint(test["id"].str.encode("utf-8"))
        assert set(learner.names[: learner.n_real]) == set(taught.names)


def test_each_script_runs_its_own_kind(data: Path, tmp_path: Path) -> None:
    done = run(data, tmp_path, config="PseudoDemo", code=2)
    assert "use `python train_pseudo.py --config PseudoDemo`" in done.stderr
    done = run(data, tmp_path, script="train_pseudo.py", code=2)
    assert "use `python train.py --config Demo`" in done.stderr


def test_a_missing_source_names_its_command(data: Path, tmp_path: Path) -> None:
    done = run(data, tmp_path, **PSEUDO, code=2)
    assert done.stderr.count("\n") == 1
    assert "make them with `python train.py --config Demo --resume`" in done.stderr
    assert not (tmp_path / "pseudo_demo").exists()


def test_a_source_of_other_folds_would_leak(data: Path, results: Path) -> None:
    settings = ("splitter_params.random_state=7", "name=other_folds")
    done = run(data, results, **PSEUDO, settings=settings, code=2)
    assert "would leak" in done.stderr
    assert not (results / "other_folds").exists()


def test_resume_goes_on_and_refuses_changed_labels(
    data: Path, results: Path, tmp_path: Path
) -> None:
    done = run(data, results, "--resume", **PSEUDO)
    assert "fold 1: finished before" in done.stdout
    path = results / "demo" / "predictions.npy"
    before = path.read_bytes()
    np.save(path, np.load(path) + 1)
    done = run(data, results, "--resume", **PSEUDO, code=2)
    assert "have changed since" in done.stderr
    path.write_bytes(before)
    # Trained alone and on the same labels, a fold is the same.
    (tmp_path / "demo").symlink_to(results / "demo")
    for fold in "01":
        run(data, tmp_path, "--limit_fold", fold, **PSEUDO)
    run(data, tmp_path, "--inference", **PSEUDO)
    assert same_arrays(tmp_path / "pseudo_demo", results / "pseudo_demo")


def test_hard_labels_from_the_command_line(data: Path, results: Path) -> None:
    settings = (
        "name=hard",
        "pseudo_labels.hard_label=true",
        "pseudo_labels.confident_samples=(0.25,0.75)",
    )
    done = run(data, results, "--limit_fold", "0", **PSEUDO, settings=settings)
    assert "12 of 24 test samples join the training" in done.stdout
