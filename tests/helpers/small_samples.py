"""A few `.npy` files of white noise at the amplitude of strain."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def make_files(folder: Path, n: int, seed: int = 0) -> tuple[list[str], list[Path], np.ndarray]:
    """Write n samples of white noise at the amplitude of strain, as float64."""
    rng = np.random.default_rng(seed)
    strain = rng.standard_normal((n, 3, 4096)) * 1e-20
    ids = [f"{i * 7919 % 65536:04x}_{seed}" for i in range(n)]  # not in sorted order
    paths = [folder / f"{name}.npy" for name in ids]
    folder.mkdir(parents=True, exist_ok=True)
    for path, sample in zip(paths, strain, strict=True):
        np.save(path, sample)
    return ids, paths, strain
