"""`make doctor`: ten lines on this machine."""

from __future__ import annotations

from importlib.metadata import version

import torch
from command_here import run_main

from doctor import __main__ as doctor
from doctor import speed
from runtime.errors import UserError


def test_the_report_has_ten_lines(monkeypatch) -> None:
    timed = []

    def time_training(config, device: torch.device, seconds: float) -> speed.Speed:
        timed.append((config.__name__, seconds))
        if config.__name__ == "DemoSpec":
            raise UserError("no such network")
        return speed.Speed(1234.5, 10, 64)

    monkeypatch.setattr(speed, "time_training", time_training)
    done = run_main(doctor.main, ["--seconds", "6"])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "system",
        "toolkit",
        "packages",
        "extras",
        "missing",
        "CUDA",
        "bf16",
        "speed",
        "kept",
        "pretrained",
    ]
    assert timed == [("Demo", 2.0), ("DemoSpec", 2.0), ("Nspec16", 2.0)]
    assert "Demo 1,234 samples/s in batches of 64; DemoSpec: no such network; Nspec16" in lines[7]
    assert f"torch {version('torch')}, " in lines[2]


def test_without_seconds_nothing_is_timed() -> None:
    done = run_main(doctor.main, ["--seconds", "0", "--timed", "demo"])
    assert done.returncode == 0, done.stderr
    assert "speed       not timed" in done.stdout


def test_an_experiment_that_is_not_there_is_refused() -> None:
    done = run_main(doctor.main, ["--timed", "Demos"])
    assert done.returncode == 2
    assert "did you mean 'Demo'" in done.stderr
