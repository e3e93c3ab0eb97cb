"""A run directory: what a killed run was writing goes, what others are writing stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT

import configs
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.fold_plan import FoldAction, FoldPlan
from experiments.fold_record import read_fold
from experiments.run_directory import RunDirectory
from experiments.run_identity import TrainedFrom, deciding_settings, settings_digest
from runtime.errors import UserError


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
    return RunDirectory(tmp_path, configs.Demo, names, names, np.arange(4) % 2, np.arange(4) // 2)


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


def test_a_missing_config_is_no_licence_to_go_on_with_other_settings(
    directory: RunDirectory,
) -> None:
    settings = settings_digest(deciding_settings(to_plain(configs.Demo)))
    record = directory.path / "fold1.json"
    start = {"from": "random weights", "name": None, "weights": None}
    trained_from = TrainedFrom("samples", {"train": {}}, settings, start, None, 64)
    record.write_text(json.dumps({"epoch": 1, "trained_from": asdict(trained_from)}))
    directory.check_kept_folds()
    directory.config = override(configs.Demo, ["train_path=elsewhere.csv", "num_epochs=50"])
    directory.check_kept_folds()
    directory.config = override(configs.Demo, ["seed=5"])
    with pytest.raises(
        UserError, match=r"config\.json is missing, and fold 1 was trained with oth"
    ):
        directory.check_kept_folds()
    record.write_text(json.dumps({"epoch": 1}))  # older than the digests
    with pytest.raises(UserError, match=r"config\.json is missing, so that it is not known"):
        directory.check_kept_folds()
    record.unlink()
    directory.check_kept_folds()
