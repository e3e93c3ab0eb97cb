"""What --config can name: classes of configs.py, of files and packages, and runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

import configs
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.overrides import override
from runtime.errors import UserError

MINE = """
import torch
from torch import nn

from configs import Demo
from configuration.class_with_arguments import Part
from transforms import WaveTransform


class Negative(WaveTransform):
    def transform_rows(self, x):
        return -x


class OwnLoss(nn.Module):
    def forward(self, logits, targets):
        return (logits.reshape(-1) - targets.reshape(-1)).square().mean()


class MyTry(Demo):
    name = "my_try"
    transforms = {"train": (Part(Negative, p=0.25),), "test": None}
"""


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test the registry, the path and the modules as they were."""
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str = MINE) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_class_of_configs_by_its_name_and_by_the_name_of_its_run() -> None:
    assert load_config("Wave07") is load_config("wave_07") is configs.Wave07
    assert configs.Wave07.reference == "Wave07"


def test_a_class_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    config = load_config(f"{path}:MyTry")
    assert config.name == "my_try"
    assert load_config(str(path)) is config  # its only one
    assert config.reference == f"{path}:MyTry"
    assert config.to_plain()["reference"] == config.reference
    changed = override(config, ["num_epochs=3", "criterion=OwnLoss"])
    assert changed.reference == config.reference
    assert changed.criterion.cls.__module__ == "mine"
    appended = override(config, ["transforms.train+=Negative", "transforms.train.-1.p=0.75"])
    assert [part.params for part in appended.transforms["train"]] == [{"p": 0.25}, {"p": 0.75}]
    part = config.transforms["train"][0]
    assert pickle.loads(pickle.dumps(part)) == part


def test_a_class_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mypackage" / "__init__.py", "")
    write(tmp_path / "mypackage" / "tries.py")
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config("mypackage.tries:MyTry")
    assert config.reference == "mypackage.tries:MyTry"
    assert load_config(config.reference) is config


def test_another_process_finds_the_classes_of_a_file(tmp_path: Path) -> None:
    """Reader processes that are spawned get sys.path and unpickle by module name."""
    path = write(tmp_path / "mine.py")
    code = f"""
import multiprocessing, sys
import configs
from configuration.config_references import load_config

if __name__ == "__main__":
    part = load_config({f"{path}:MyTry"!r}).transforms["train"][0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(repr, (part,)))
"""
    script = write(tmp_path / "script.py", code)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.strip() == "Negative(p=0.25)"


BAD_FILES = {
    "no file": (None, "absent.py:MyTry", "there is no such file: check its path"),
    "no class": ("x = 1\n", "mine.py:MyTry", "it defines no experiment"),
    "none of that name": (MINE, "mine.py:MyTri", "no such experiment (did you mean 'MyTry'?)"),
    "two, none named": (
        f'{MINE}\n\nclass Other(MyTry):\n    name = "other"\n',
        "mine.py",
        "it defines 2 experiments: choose",
    ),
    "wrong syntax": ("class MyTry(\n", "mine.py:MyTry", "cannot be imported (SyntaxError"),
    "an error of its own": ("x = 1\ny = 1 / 0\n", "mine.py:MyTry", "division by zero, line 2)"),
    "a missing package": ("import absent_one\n", "mine.py:A", "No module named 'absent_one'"),
    "a name that is taken": (
        MINE.replace('"my_try"', '"demo"'),
        "mine.py:MyTry",
        "the name 'demo' belongs to Demo",
    ),
    "a class name that is taken": (
        MINE.replace("class MyTry(Demo)", "class Wave07(Demo)"),
        "mine.py:Wave07",
        "configs has a config of this name",
    ),
    "no name": (MINE.replace('    name = "my_try"\n', ""), "mine.py:MyTry", "give it a `name`"),
    "a misspelt setting": (
        MINE + "    num_epoch = 3\n",
        "mine.py:MyTry",
        "no setting 'num_epoch' (did you mean 'num_epochs'?)",
    ),
    "the name of another module": (MINE, "train.py:MyTry", "there is another module 'train'"),
    "no module's name": (MINE, "my-try.py:MyTry", "is no name of a Python module: rename"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_cannot_be_used(case: str, tmp_path: Path) -> None:
    text, reference, message = BAD_FILES[case]
    name = reference.partition(":")[0]
    if text is not None:
        write(tmp_path / name, text)
    with pytest.raises(UserError) as error:
        load_config(f"{tmp_path}/{reference}")
    assert message in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("absent.package:MyTry", "Python finds no module 'absent.package'"),
        ("Dem", "there is no config 'Dem' (did you mean 'Demo'?)"),
        ("absent/config.json", "there is no such file"),
    ],
)
def test_references_to_nothing(reference: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(reference)
    assert message in str(error.value)


@pytest.mark.parametrize("word", ["nspec16", "Nspec_16", "WAVE07", "wave07", "mdc1_glitches"])
def test_case_and_underscores_do_not_matter(word: str) -> None:
    """`--config my_try` finds the class MyTry, whatever its run is called."""
    plain = word.replace("_", "").lower()
    assert load_config(word).__name__.lower() == plain


def test_a_class_is_found_by_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import configs

    own = ConfigMeta("MyTry", (configs.Demo,), {"name": "gem_pooling"})
    assert load_config("my_try") is own
    assert load_config("gem_pooling") is own
    # Two that differ in case alone are not guessed between.
    ConfigMeta("MYTRY", (configs.Demo,), {"name": "other"})
    assert load_config("MyTry") is own
    with pytest.raises(UserError, match="there is no config 'my_try'"):
        load_config("my_try")
