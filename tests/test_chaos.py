"""Killed runs end as if they had not been; `make chaos` kills a hundred, and at every write."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path

import chaos
import child_processes
import kill_points
import torch


def test_six_kills(tmp_path: Path) -> None:
    """In forks, which need not import torch: every kill comes in the run itself."""
    for name in kill_points.IMPORTED:
        importlib.import_module(name)

    def run_fork(arguments: list[str], seconds: float | None) -> bool:
        child = child_processes.start(chaos.train, arguments, tmp_path / "printed")
        return child.kill_after(math.inf if seconds is None else seconds)

    work = tmp_path / "work"
    assert chaos.chaos(6, jobs=1, seed=1, work=work, cases=["Waveform"], run=run_fork) == []


def test_a_killed_command_line(tmp_path: Path) -> None:
    assert chaos.chaos(kills=1, jobs=1, seed=1, work=tmp_path, cases=["Waveform"]) == []


# While a checkpoint of an epoch's middle is written, the last one of a fold, and what says how far
# a fold is; between two folds; in the predictions; after them; and where a run is begun anew over
# an old one.
MOMENTS = [
    "half of fold0_last.pt 2",
    "half of fold0_last.pt 6",
    "before fold0.json 2",
    "before fold1_last.pt 1",
    "half of predictions.npy 1",
    "before summary.json 1",
    "moving fold0.pt 1",
]


def test_kills_at_the_worst_moments() -> None:
    line = [sys.executable, str(Path(kill_points.__file__)), "--case", "Waveform", "--only"]
    done = subprocess.run([*line, *MOMENTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Waveform: 7 of 7 moments identical\n")


def test_a_difference_would_be_seen() -> None:
    one = {"model": {"a": torch.ones(2)}, "state": {"history": [{"loss": 1.0, "seconds": 3.0}]}}
    two = {"model": {"a": torch.ones(2)}, "state": {"history": [{"loss": 1.0, "seconds": 4.0}]}}
    assert list(chaos.nested(one, two, "fold0.pt", torch)) == []
    two["model"]["a"] = torch.tensor([1.0, 1.0 + 2e-7])
    two["state"]["history"][0]["loss"] = float("nan")
    assert list(chaos.nested(one, two, "fold0.pt", torch)) == [
        "fold0.pt.model.a",
        "fold0.pt.state.history.0.loss",
    ]
