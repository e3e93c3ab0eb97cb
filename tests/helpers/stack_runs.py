"""Runs to stack: three models that hear the same signals in noise of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from notebooks import run_notebook
from paths import ROOT

from experiments.npy_files import save_array
from stack.inputs import StackData

NAMES = ("pseudo_14", "pseudo_16", "pseudo_07")  # in the published stack's order of columns


def make_stack(
    n: int = 1500, m: int = 600, folds: int = 3, names: Sequence[str] = NAMES, seed: int = 0
) -> tuple[StackData, np.ndarray]:
    """Return joined logits and the truth (m,) of the test samples.

    A signal shifts a loudness that all models hear; each hears it in noise of its own, the later
    ones in more, and the networks of each fold have a scale and an offset of their own.
    """
    rng = np.random.default_rng(seed)
    spread = 0.5 + 0.25 * np.arange(len(names))
    scale = 1 + 0.2 * rng.normal(size=(folds, len(names)))
    offset = 0.3 * rng.normal(size=(folds, len(names)))

    def hear(loudness: np.ndarray) -> np.ndarray:
        noise = rng.normal(size=(len(loudness), len(names))) * spread
        return loudness[:, None] + noise

    # Both classes in every fold
    targets = (np.arange(n) // folds % 2).astype(np.int8)
    of_row = np.arange(n) % folds
    truth = np.arange(m) % 2
    heard = hear(1.5 * targets + rng.normal(size=n))
    out_of_fold = heard * scale[of_row] + offset[of_row]
    loudness = 1.5 * truth + rng.normal(size=m)
    test = np.stack([hear(loudness) * scale[k] + offset[k] for k in range(folds)])
    return (
        StackData(
            tuple(names),
            ("",) * len(names),
            np.array([f"train{i:05d}" for i in range(n)]),
            np.array([f"test{i:05d}" for i in range(m)]),
            targets,
            of_row.astype(np.int64),
            out_of_fold.astype(np.float32),
            test.astype(np.float32),
        ),
        truth,
    )


def write_run(folder: Path, data: StackData, column: int, suffix: str = "", shuffle: int = 0):
    """Write one model as a run's arrays, the rows in an order of its own."""
    rng = np.random.default_rng(shuffle)
    train, test = (
        rng.permutation(len(ids)) if shuffle else np.arange(len(ids))
        for ids in (data.train_ids, data.test_ids)
    )
    save_array(folder / "ids_train.npy", data.train_ids[train])
    save_array(folder / "ids_test.npy", data.test_ids[test])
    save_array(folder / "folds.npy", data.folds[train])
    save_array(folder / f"outoffolds{suffix}.npy", data.out_of_fold[train, column][:, None])
    save_array(folder / f"predictions{suffix}.npy", data.test[:, test, column][..., None])


def write_results(root: Path, data: StackData, truth: np.ndarray | None = None) -> Path:
    """Write tables into `root`/input and a run for every model into `root`/results."""
    tables = root / "input"
    tables.mkdir(parents=True)
    write_table(tables / "train.csv", data.train_ids, data.targets)
    write_table(tables / "test.csv", data.test_ids, [0.5] * len(data.test_ids))
    # In an order of its own, as Kaggle's would be if the runs' were not
    write_table(tables / "sample_submission.csv", data.test_ids[::-1], [0.5] * len(data.test_ids))
    if truth is not None:
        write_table(tables / "test_labels.csv", data.test_ids, truth)
    for column, name in enumerate(data.names):
        folder = root / "results" / name
        write_run(folder, data, column, shuffle=column)
        config = {
            "class": name,
            "name": name,
            "train_path": str(tables / "train.csv"),
            "test_path": str(tables / "test.csv"),
        }
        (folder / "config.json").write_text(json.dumps(config))
    return root / "results"


def write_table(path: Path, ids: Sequence[str], targets: Sequence) -> None:
    rows = [f"{name},{target}" for name, target in zip(ids, targets, strict=True)]
    path.write_text("\n".join(["id,target", *rows]) + "\n")


NOTEBOOK = ROOT / "submission.ipynb"


def execute_notebook(results: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the notebook of the stack on some results, as `run_notebook` does; return it."""
    monkeypatch.setenv("G2NET_RESULTS", str(results))
    return run_notebook(NOTEBOOK)


def read_exactly(path: Path) -> pd.DataFrame:
    """Read a submission to the last bit, as pandas before 3 does not."""
    return pd.read_csv(path, dtype=str).astype({"target": float})
