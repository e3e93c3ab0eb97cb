"""train.py --new: a first file of experiments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from paths import ROOT

import configs
import train
from configuration.class_with_arguments import Part
from physics.observation import Observation
from runtime.errors import UserError


def test_the_file_runs_at_once(tmp_path: Path, capsys) -> None:
    """As it is written it resolves, trains two batches, and runs again from its config.json."""
    path = tmp_path / "my_tries.py"
    assert train.main(["--new", str(path), "--from", "Demo"]) == 0
    advised = capsys.readouterr().out.splitlines()[-1]
    assert advised == f"python train.py --config {path}:MyTries --dry_run"
    words = [*advised.split()[2:], "--results", str(tmp_path), "--no_pretrained"]
    # In a process of its own: the class stays registered where it is imported.
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words, "--num_workers", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "MyTriesShift" in (tmp_path / "dry_run" / "my_tries" / "config.json").read_text()
    recorded = tmp_path / "dry_run" / "my_tries" / "config.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--config", str(recorded), "--show"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "name = my_tries" in done.stdout


def test_its_transform_shifts_each_row_on_its_own(tmp_path: Path) -> None:
    """By at most `most` seconds of the experiment's own observation, all detectors alike."""
    path = tmp_path / "of_another_rate.py"
    train.main(["--new", str(path), "--from", "Demo"])
    text = path.read_text()
    assert "2048" not in text
    assert "Shift each row" in text
    # The class of the transform alone: the experiment after it would stay registered.
    names: dict = {}
    exec(compile(text[: text.index("class OfAnotherRate(Demo)")], str(path), "exec"), names)
    shift = names["OfAnotherRateShift"]
    part = Part(shift, most=0.25, always_apply=True)
    observation = Observation(detectors=("H1", "L1"), sample_rate=64, window=4.0)
    x = torch.zeros(200, 2, 128)  # every second sample was left out: 32 a second
    x[..., 64] = 1
    torch.manual_seed(0)
    places = part.build_for(observation=observation)(x).argmax(-1) - 64
    assert (places[:, 0] == places[:, 1]).all()
    assert set(places[:, 0].tolist()) == set(range(-8, 9))


def test_every_experiment_can_be_a_parent(tmp_path: Path) -> None:
    for parent in (configs.Nspec16, configs.Wave07, configs.Pseudo07, configs.Mdc1):
        path = tmp_path / f"of_{parent.name}.py"
        train.main(["--new", str(path), "--from", parent.__name__])
        compile(path.read_text(), str(path), "exec")
        assert f"class Of{parent.name.title().replace('_', '')}(" in path.read_text()


@pytest.mark.parametrize(
    ("name", "parent", "message"),
    [
        ("there.py", "Demo", "the file is there already"),
        ("mine.txt", "Demo", "expected a file like mine.py"),
        ("my-try.py", "Demo", "expected a file like mine.py"),
        ("absent/mine.py", "Demo", "there is no folder"),
        ("mine.py", "Dem", "there is no config 'Dem'"),
    ],
)
def test_what_cannot_be_written(name: str, parent: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "there.py").write_text("x = 1\n")
    with pytest.raises(UserError) as error:
        train.main(["--new", str(tmp_path / name), "--from", parent])
    assert message in str(error.value)
    assert (tmp_path / "there.py").read_text() == "x = 1\n"
