"""A small run of Demo through the real command line, for the tests that need one."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from paths import ROOT

# Demo's network on 60 samples: what these tests are about is the flow, not the score.
SMALL = [
    "num_epochs=2",
    "batch_size=16",
    "cv=2",
    "model_params.widths=(4,8)",
    "model_params.depths=(1,1)",
    "model_params.kernel_sizes=(7,5)",
    "model_params.strides=(4,4)",
    "train_cache=none",
    "test_cache=none",
]


def make_data(folder: Path, n_train: int = 60, n_test: int = 24, seed: int = 0) -> Path:
    """Coloured-enough noise with an audible chirp in the positives, in prep_data's form."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    t = np.arange(4096) / 2048
    chirp = np.sin(2 * np.pi * (40 * t + 30 * t**2)) * np.exp(-(((t - 1.6) / 0.1) ** 2))
    for split, n in (("train", n_train), ("test", n_test)):
        targets = rng.permutation(np.arange(n) % 2)
        lines = ["id,target,path"]
        for number, target in enumerate(targets):
            strain = rng.normal(0, 1e-20, (3, 4096)) + 4e-20 * target * chirp
            name = f"{split}{seed}x{number}"
            np.save(folder / f"{name}.npy", strain)
            lines.append(f"{name},{target if split == 'train' else 0.5},{name}.npy")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
        if split == "test":
            truth = [f"{split}{seed}x{i},{target}" for i, target in enumerate(targets)]
            (folder / "test_labels.csv").write_text("\n".join(["id,target", *truth]) + "\n")
    return folder


def command(
    data: Path,
    results: Path,
    *extra: str,
    settings: tuple[str, ...] = (),
    config: str = "Demo",
    script: str = "train.py",
) -> list[str]:
    paths = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    return [
        sys.executable,
        str(ROOT / script),
        "--config",
        config,
        "--results",
        str(results),
        "--set",
        *SMALL,
        *paths,
        *settings,
        *extra,
    ]


def run_here(
    data: Path,
    results: Path,
    *extra: str,
    settings: tuple[str, ...] = (),
    code: int = 0,
    config: str = "Demo",
    script: str = "train.py",
) -> subprocess.CompletedProcess:
    """Run the command line in this process, which need not import torch again."""
    from runtime.errors import UserError
    from train import main

    line = command(data, results, *extra, settings=settings, config=config, script=script)[2:]
    output, error, ended = io.StringIO(), "", 0
    with contextlib.redirect_stdout(output):
        try:
            ended = main(line, pseudo=script == "train_pseudo.py")
        except UserError as refused:
            ended, error = 2, f"error: {refused}\n"
    assert ended == code, output.getvalue() + error
    return subprocess.CompletedProcess(line, ended, output.getvalue(), error)


def same_arrays(first: Path, second: Path) -> bool:
    return all(
        np.array_equal(np.load(first / name), np.load(second / name))
        for name in ("outoffolds.npy", "predictions.npy")
    )
