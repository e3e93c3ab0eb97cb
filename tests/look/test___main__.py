"""`python -m look` draws any experiment before it is trained, and nothing twice unasked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_here import run_main

import configs
from configuration.config_class import ConfigMeta
from experiments.dry_run import invent_noise
from experiments.run_names import check_run_name
from experiments.targets import outputs_of
from look import __main__ as look
from physics.observation import Observation
from runtime.errors import UserError

PNG = b"\x89PNG\r\n"
# The competition's network is shrunk; its front-end and transforms are what is drawn.
SMALL = ["model_params.model_name=test_efficientnet.r160_in1k"]


def run(*words: object, code: int = 0) -> str:
    done = run_main(look.main, words)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def pictures(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert all(content.startswith(PNG) for content in found.values())
    return found


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("Demo", [], "without augmentation: Whiten -> (3, 2048)"),
        ("DemoSpec", [], "image of ComplexMorletCWT: (3, 32, 128)"),
        ("Nspec16", SMALL, "image of ComplexMorletCWT: (3, 128, 1024)"),
    ],
)
def test_experiments_on_files_are_drawn(name, settings, words, tables, tmp_path) -> None:
    line = ["--config", name, "--samples", 1, "--results", tmp_path, "--set", *tables, *settings]
    text = run(*line)
    assert words in text
    assert "1 samples" not in text
    (folder,) = (tmp_path / "look").iterdir()
    assert str(folder) in text
    assert len(pictures(folder)) == 2
    assert (folder / "overview.png").is_file()


def test_nothing_is_drawn_over_unasked_and_the_same_twice(tables, tmp_path) -> None:
    out = tmp_path / "seen"
    line = ["--config", "Demo", "--ids", "train0x3", "--out", out, "--set", *tables]
    run(*line)
    first = pictures(out)
    assert set(first) == {"01_train0x3.png", "overview.png"}
    text = run(*line, code=2)
    assert text == (
        f"error: {out} has pictures already: name another folder with --out, or give --overwrite, "
        f"which draws them anew\n"
    )
    run(*line, "--overwrite")
    assert pictures(out) == first
    # A call that was killed left its samples, and no overview.
    (out / "overview.png").unlink()
    assert "01_train0x3.png is there already" in run(*line, code=2)


def test_bad_ids_and_a_file_for_a_folder_are_one_sentence(tables, tmp_path) -> None:
    line = ["--results", tmp_path, "--set", *tables]
    text = run("--ids", "train0x99", *line, code=2)
    assert text.count("\n") == 1
    assert "--ids train0x99: neither" in text
    (tmp_path / "taken").write_text("")
    assert "expected a folder" in run("--out", tmp_path / "taken", *line, code=2)
    assert not (tmp_path / "look").exists()


def test_an_experiment_that_draws_its_samples_needs_no_files(tmp_path, monkeypatch) -> None:
    pytest.importorskip("lalsimulation", reason="needs pip install -e '.[sim]'")
    monkeypatch.chdir(tmp_path)
    text = run("--config", "Wave07", "--samples", 2)
    assert "2 samples of Wave07 (drawn): 1 signal, 1 noise" in text
    assert "with augmentation: drawn whitened, then SwapChannel, FlipWave, TimeShift" in text
    names = {"01_drawn_0.png", "02_drawn_1.png", "overview.png"}
    assert set(pictures(tmp_path / "results" / "look" / "wave_07")) == names


OWN = """
import torch

from configs import *
from configuration.class_with_arguments import Part


class Louder(torch.nn.Module):
    def forward(self, x):
        return 3 * x


class MyTry(Demo):
    name = "my_try"
    observation = Part(Observation, detectors=("L1", "V1"), sample_rate=1024, window=1.0)
    transforms = {"train": (Part(Whiten), Part(Louder)), "test": (Part(Whiten),)}
"""


def test_an_own_file_with_two_detectors(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "looked_at.py").write_text(OWN)
    pair = Observation(("L1", "V1"), sample_rate=1024, window=1.0)
    invent_noise(tmp_path / "data", 0, pair.sampling, outputs_of(configs.Demo))
    tables = [f"{split}_path={tmp_path / 'data' / split}.csv" for split in ("train", "test")]
    line = [
        "--config",
        f"{tmp_path / 'looked_at.py'}:MyTry",
        "--samples",
        2,
        "--out",
        tmp_path / "out",
    ]
    text = run(*line, "--set", *tables, "train_cache=none", "test_cache=none")
    assert "strain (2, 1024), L1 V1 at 1024 Hz, 1 s" in text
    assert "with augmentation: Whiten, Louder" in text
    assert len(pictures(tmp_path / "out")) == 3  # two samples and the overview


def test_no_run_may_have_the_name_of_its_folder() -> None:
    with pytest.raises(UserError, match="holds the pictures of `python -m look`"):
        check_run_name("look")
