"""The file of the best trial: an experiment that runs, from wherever it was tuned."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import Demo
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from tuning.best_file import best_file_path, format_best_file, names_of_best, write_best_file

OWN = """
from configs import Demo


class BestFileTry(Demo):
    name = "best_file_try"
    num_epochs = 7
"""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before, modules, path = dict(ConfigMeta.registry), set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path
    ConfigMeta.registry.clear()
    ConfigMeta.registry.update(before)


def write(config: ConfigMeta, study: str, folder: Path, settings: list[str]) -> str:
    folder.mkdir(exist_ok=True)
    path = best_file_path(config, study, folder)
    write_best_file(path, format_best_file(config, study, folder, settings, "AUC 0.9"), None)
    return f"{path}:{names_of_best(config, study)[0]}"


def test_it_is_the_experiment_with_the_settings(tmp_path: Path) -> None:
    words = ["num_epochs=3", "optimizer_params.lr=0.00123", "model_params.widths=(4, 8, 16)"]
    words += ["name=ignored"]
    best = load_config(write(Demo, "best_of_demo", tmp_path, words))
    assert best.name == "best_of_demo_tuned"
    assert best.num_epochs == 3
    assert best.optimizer_params == {"lr": 0.00123, "weight_decay": 1e-2}
    assert best.model_params["widths"] == (4, 8, 16)
    assert best.transforms == Demo.transforms


def test_it_finds_the_experiment_of_an_own_file(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "best_file_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    config = load_config("best_file_mine.py:BestFileTry")
    place = write(config, "best_file_try", tmp_path / "study", ["batch_size=5"])
    monkeypatch.chdir("/")  # the file was named relative to where the study was started
    best = load_config(place)
    assert (best.__name__, best.name) == ("BestFileTryTuned", "best_file_try_tuned")
    assert (best.num_epochs, best.batch_size) == (7, 5)


def test_names_are_those_of_python() -> None:
    assert names_of_best(Demo, "demo") == ("DemoTuned", "demo_tuned")
    assert names_of_best(Demo, "wide-net.2") == ("WideNet2Tuned", "wide_net_2_tuned")
    assert names_of_best(Demo, "2026") == ("Study2026Tuned", "study_2026_tuned")


def test_a_file_that_somebody_changed_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "demo_tuned.py"
    write_best_file(path, "first", None)
    write_best_file(path, "second", "first")
    assert [p.name for p in tmp_path.iterdir()] == ["demo_tuned.py"]
    path.write_text("mine")
    write_best_file(path, "third", "second")
    assert path.read_text() == "third"
    (aside,) = (p for p in tmp_path.iterdir() if p != path)
    assert aside.read_text() == "mine"
