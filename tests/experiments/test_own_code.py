"""Code of an own file is noticed when it changes, and nothing else of that file is."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_run import make_data, run_here

import configs
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.own_code import changed_code, own_code_digests
from experiments.predictor import find_run
from runtime.console import LOGGER

HELPERS = """
import torch

FLOOR = 0.5


def soften(x, least):
    return x * max(least, FLOOR)


def unused(x):
    return x
"""
FILE = '''
import torch
from torch import nn

import own_code_helpers as helpers
from configs import Demo
from configuration.class_with_arguments import Part
from own_code_helpers import soften
from transforms import WaveTransform

LEAST = 0.7


class Quieter(WaveTransform):
    """Multiply by a factor."""

    def transform_rows(self, x):
        return soften(x, LEAST)


class Squared(nn.Module):
    def forward(self, logits, targets):
        return (logits.sigmoid() - targets).square().mean()


class Other(WaveTransform):
    def transform_rows(self, x):
        return -x


class OwnCodeTry(Demo):
    name = "own_code_try"
    transforms = {**Demo.transforms, "train": (*Demo.transforms["train"], Part(Quieter, p=0.5))}
    criterion = Part(Squared)
'''

Digests = Callable[[str, str], dict[str, str]]


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Forget the file that was imported, as another process would not know it."""
    before, path = dict(ConfigMeta.registry), list(sys.path)

    def forget_all() -> None:
        for name in ("own_code_file", "own_code_helpers"):
            sys.modules.pop(name, None)
        sys.path[:] = path
        importlib.invalidate_caches()
        ConfigMeta.registry.clear()
        ConfigMeta.registry.update(before)

    yield forget_all
    forget_all()


@pytest.fixture
def digests_of(tmp_path: Path, forget: Callable[[], None]) -> Digests:
    """What is digested of a file with these texts, imported anew each time."""

    def digests(text: str = FILE, helpers: str = HELPERS) -> dict[str, str]:
        forget()
        config = load_config(f"{write_files(tmp_path, text, helpers)}:OwnCodeTry")
        found = own_code_digests(config)
        # Of a child by --set as well.
        assert own_code_digests(override(config, ["num_epochs=2"])) == found
        return found

    return digests


def write_files(parent: Path, text: str = FILE, helpers: str = HELPERS) -> Path:
    """Write them into a folder of their own: Python may take another's compiled file for this."""
    folder = parent / f"version{len(list(parent.glob('version*')))}"
    folder.mkdir()
    (folder / "own_code_helpers.py").write_text(helpers)
    (folder / "own_code_file.py").write_text(text)
    return folder / "own_code_file.py"


def test_what_an_experiment_uses_is_digested(digests_of: Digests) -> None:
    assert set(digests_of()) == {
        "own_code_file.Quieter",
        "own_code_file.LEAST",
        "own_code_file.Squared",
        "own_code_helpers.soften",
        "own_code_helpers.FLOOR",
    }
    assert own_code_digests(configs.Demo) == {}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("LEAST = 0.7", "LEAST = 0.8", ["own_code_file.LEAST"]),
        ("targets).square()", "targets).abs()", ["own_code_file.Squared"]),
        ('"""Multiply by a factor."""', '"""Other words."""', []),
        ("LEAST = 0.7", "LEAST  =  0.7  # why", []),
        ("return -x", "return x", []),  # nobody uses it
        ("p=0.5", "p=0.4", []),  # a setting, which is compared as one
    ],
)
def test_only_code_that_decides_changes_digests(
    old: str, new: str, changed: list[str], digests_of: Digests
) -> None:
    assert FILE.count(old) == 1
    before = digests_of()
    assert changed_code(before, digests_of(FILE.replace(old, new))) == changed


def test_files_beside_it_are_followed(digests_of: Digests) -> None:
    before = digests_of()
    after = digests_of(FILE, HELPERS.replace("FLOOR = 0.5", "FLOOR = 0.1"))
    assert changed_code(before, after) == ["own_code_helpers.FLOOR"]
    assert digests_of(FILE, HELPERS.replace("return x\n", "return -x\n")) == before
    # Through the module's name nobody knows what is used: all of it counts.
    whole = FILE.replace("return soften(", "return helpers.soften(")
    assert "own_code_helpers.unused" in digests_of(whole)


def test_runs_without_a_record_are_not_refused() -> None:
    assert changed_code({}, {"mine.Quieter": "0"}) == []
    assert changed_code({"mine.Quieter": "0"}, {}) == []
    assert changed_code({"mine.Quieter": "0"}, {"mine.Louder": "0"}) == [
        "mine.Louder",
        "mine.Quieter",
    ]


def test_a_run_is_not_continued_with_other_code_unless_told(
    tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    data, results = make_data(tmp_path / "input"), tmp_path / "results"
    record = results / "own_code_try" / "fold0.json"

    def train(text: str, epochs: int, *extra: str, code: int = 0) -> str:
        forget()
        config = f"{write_files(tmp_path, text)}:OwnCodeTry"
        caplog.clear()
        done = run_here(
            data,
            results,
            "--limit_fold",
            "0",
            *extra,
            settings=(f"num_epochs={epochs}",),
            config=config,
            code=code,
        )
        return done.stderr

    train(FILE, 1)
    train(FILE.replace("return -x", "return x"), 1, "--resume")  # code that nothing uses
    louder = FILE.replace("LEAST = 0.7", "LEAST = 0.8")
    before = record.read_text()
    assert "other code of own_code_file.LEAST" in train(louder, 2, "--resume", code=2)
    assert record.read_text() == before
    train(louder, 2, "--resume", "--allow_changed_code")
    adjusted = json.loads(record.read_text())["adjusted"]
    assert [entry["from_epoch"] for entry in adjusted] == [1, 2]
    assert adjusted[0]["code"].keys() == adjusted[1]["code"].keys()
    assert "code" not in json.loads(record.read_text())["trained_from"]
    train(louder, 2, "--resume")  # what it was last continued with
    # Predictions are made with the code that is there, and say so.
    forget()
    monkeypatch.setattr(LOGGER, "propagate", True)  # the command has configured it
    find_run(load_config(f"{write_files(tmp_path)}:OwnCodeTry"), record.parent)
    assert "fold0.pt was trained with other code of own_code_file.LEAST" in caplog.text
