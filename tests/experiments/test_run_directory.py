"""A run directory: what a killed run was writing goes, what others are writing stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT

import configs
from experiments.fold_plan import FoldAction, FoldPlan
from experiments.fold_record import read_fold
from experiments.run_directory import RunDirectory
from experiments.run_identity import RunSamples


def leave_behind(path: Path) -> Path:
    """Kill a process that is writing a file; return the temporary file it leaves."""
    code = (
        "import os, signal, sys, utils\n"
        "with utils.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    before = set(path.parent.iterdir())
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    (left,) = set(path.parent.iterdir()) - before
    return left


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    names = np.array([f"a{number}" for number in range(4)])
    return RunDirectory(
        tmp_path, configs.Demo, RunSamples(names, names, np.arange(4) % 2, np.arange(4) // 2)
    )


def plans(directory: RunDirectory, *folds: int) -> list[FoldPlan]:
    return [FoldPlan(fold, FoldAction.BEGIN, read_fold(directory.weights(fold))) for fold in folds]


def test_what_a_killed_run_was_writing_is_removed(directory: RunDirectory) -> None:
    kept = [
        directory.path / name for name in (".mine.tmp", ".tmp", "a.0123456789ab.tmp.pt", "a.tmp")
    ]
    for path in kept:
        path.write_text("somebody's own")
    names = ("fold0.pt", "fold0_last.pt", "fold1.json", "outoffolds.npy", "plain")
    left = {name: leave_behind(directory.path / name) for name in names}

    def there() -> set[str]:
        return {name for name, path in left.items() if path.exists()}

    assert there() == set(names)
    directory.begin(
        plans(directory, 0), True, torch.device("cpu"), None, limited=True
    )  # beside runs of other folds
    assert there() == {"fold1.json", "outoffolds.npy", "plain"}
    directory.begin(plans(directory, 0, 1), True, torch.device("cpu"), None)
    assert there() == set()
    assert all(path.exists() for path in kept)
