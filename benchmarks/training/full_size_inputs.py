"""Data sets and runs of any number of samples, made quickly for `full_size`.

Files and caches that are only listed or read by the network that costs nothing are holes: they take
no room on the disk. Those that are checked and cached hold strain.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.data.reading import write_files
from benchmarks.harness.random_data import (
    ROW_BYTES,
    sample_ids,
    write_sample_table,
    write_sparse_cache,
)

FREE_NETWORK = '''"""A network that costs nothing: what is left of an epoch is the loop's."""

import torch
from torch import nn

from configs import Config


class FreeNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.offset = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.scale * x[:, 0, :1] + self.offset


class FreeExperiment(Config):
    name = "free"
    model = FreeNetwork
'''


def write_labels(root: Path, n_train: int, n_test: int) -> dict[str, list[str]]:
    """Write the competition's two tables into a folder; return the ids of both splits."""
    ids = {"train": sample_ids(n_train), "test": sample_ids(n_test, first=n_train)}
    lines = [f"{name},{row % 2}" for row, name in enumerate(ids["train"])]
    (root / "training_labels.csv").write_text("\n".join(["id,target", *lines]) + "\n")
    lines = [f"{name},0.5" for name in ids["test"]]
    (root / "sample_submission.csv").write_text("\n".join(["id,target", *lines]) + "\n")
    return ids


def write_kaggle_files(root: Path, n_train: int, n_test: int, strain: bool) -> None:
    """Write a data set in the competition's layout.

    Args:
        strain: whether the files hold strain; without, each is a hole of the right size.
    """
    root.mkdir()
    splits = write_labels(root, n_train, n_test)
    paths = [
        root / split / "/".join(name[:3]) / f"{name}.npy"
        for split, ids in splits.items()
        for name in ids
    ]
    for folder in dict.fromkeys(path.parent for path in paths):
        folder.mkdir(parents=True)
    if strain:
        (root / "all").mkdir()
        # All at once: those of the test would else be doubles of the first ones.
        written = write_files(root / "all", [path.stem for path in paths])
        for path, place in zip(written, paths, strict=True):
            path.rename(place)
        (root / "all").rmdir()
        return
    for path in paths:
        with open(path, "wb") as file:
            file.truncate(128 + 2 * ROW_BYTES)  # the header and float64


def write_free_experiment(folder: Path, n: int) -> list[str]:
    """Write a sparse cache, its tables and an experiment that costs nothing.

    Returns:
        The arguments of `train.py` for its first fold.
    """
    folder.mkdir()
    ids = sample_ids(n)
    write_sample_table(folder / "train.csv", ids, [f"{name}.npy" for name in ids])
    write_sample_table(folder / "test.csv", ids[:2], [f"{name}.npy" for name in ids[:2]])
    write_sparse_cache(folder / "train.f32", ids)
    (folder / "free_network.py").write_text(FREE_NETWORK)
    changes = [f"train_path={folder}/train.csv", f"test_path={folder}/test.csv"]
    changes += [f"train_cache={folder}/train.f32", "num_epochs=1"]
    return [
        *("--config", f"{folder}/free_network.py:FreeExperiment", "--limit_fold", "0"),
        *("--silent", "--results", f"{folder}/results", "--set", *changes),
    ]


def write_runs(folder: Path, n: int, m: int, runs: int, folds: int = 5) -> Path:
    """Write finished runs of networks that hear the same signals in noise of their own.

    Args:
        n: training samples; `m`: test samples.
        runs: how many.

    Returns:
        The folder of results.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    train, test = np.array(sample_ids(n)), np.array(sample_ids(m, first=n))
    targets = np.arange(n) % 2
    of_row = rng.permutation(np.arange(n) % folds)
    loudness = 1.5 * targets + rng.standard_normal(n)
    loudness_of_test = 1.5 * (np.arange(m) % 2) + rng.standard_normal(m)
    write_sample_table(folder / "train.csv", train.tolist(), [f"{name}.npy" for name in train])
    write_sample_table(folder / "test.csv", test.tolist(), [f"{name}.npy" for name in test])
    lines = [f"{name},0.5" for name in test]
    (folder / "sample_submission.csv").write_text("\n".join(["id,target", *lines]) + "\n")
    for number in range(runs):
        run = folder / "results" / f"run_{number:02d}"
        run.mkdir(parents=True)
        spread = 0.5 + 0.05 * number
        heard = loudness + spread * rng.standard_normal(n)
        tested = loudness_of_test + spread * rng.standard_normal((folds, m))
        np.save(run / "outoffolds.npy", heard[:, None].astype(np.float32))
        np.save(run / "predictions.npy", tested[..., None].astype(np.float32))
        np.save(run / "ids_train.npy", train)
        np.save(run / "ids_test.npy", test)
        np.save(run / "folds.npy", of_row.astype(np.int64))
        # As versions without digests wrote it: nothing says that a fold is unfinished.
        (run / "predictions.json").write_text('{"views": ["identity"], "weights": {}}')
        settings = {
            "class": f"Run{number:02d}",
            "name": run.name,
            "train_path": str(folder / "train.csv"),
            "test_path": str(folder / "test.csv"),
            "cv": folds,
            "num_epochs": 1,
            "eval_metric": {"class": "AUC"},
            "published": {},
        }
        (run / "config.json").write_text(json.dumps(settings))
    return folder / "results"
