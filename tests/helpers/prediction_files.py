"""The arrays of a run's predictions, of random logits, without a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.npy_files import save_array


def write_prediction_files(
    folder: Path, n: int = 10, m: int = 6, folds: int = 2, suffix: str = ""
) -> Path:
    rng = np.random.default_rng(3)
    save_array(folder / "ids_train.npy", np.array([f"train{i}" for i in range(n)]))
    save_array(folder / "ids_test.npy", np.array([f"test{i}" for i in range(m)]))
    save_array(folder / "folds.npy", np.arange(n) % folds)
    save_array(folder / f"outoffolds{suffix}.npy", rng.normal(size=(n, 1)).astype(np.float32))
    shape = (folds, m, 1)
    save_array(folder / f"predictions{suffix}.npy", rng.normal(size=shape).astype(np.float32))
    return folder
