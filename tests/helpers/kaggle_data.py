"""A small data set in the competition's layout, for the tests of prep_data.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import prep_data
from physics.observation import COMPETITION

TRAIN, TEST = 9, 4


def write_samples(
    root: Path,
    split: str,
    ids: list[str],
    targets: list[float],
    seed: int,
    shape: tuple[int, int] = COMPETITION.shape,
) -> None:
    """Write samples in the Kaggle layout, with the table that lists them."""
    rng = np.random.default_rng(seed)
    for name in ids:
        folder = root / split / name[0] / name[1] / name[2]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", rng.standard_normal(shape) * 1e-20)
    lines = [f"{name},{target}\n" for name, target in zip(ids, targets, strict=True)]
    (root / prep_data.SPLITS[split]).write_text("id,target\n" + "".join(lines))


def make_data(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    train = [f"{i * 7 % 10}0{i}e{i:06d}" for i in range(TRAIN)]  # 000e000000: text, no number
    write_samples(root, "train", train, [i % 2 for i in range(TRAIN)], seed=0)
    write_samples(root, "test", [f"f{i}a{i:07d}" for i in range(TEST)], [0.5] * TEST, seed=1)
    return root


def files_of(root: Path, split: str) -> list[Path]:
    return sorted((root / split).rglob("*.npy"))
