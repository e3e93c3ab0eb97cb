"""Mistakes with own files, exports, new samples, studies: one sentence, and nothing written."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_run import SMALL, make_data, run_here

import configs  # noqa: F401 - registers the experiments, before a test copies them
import export
import predict
import train
from configuration.config_class import ConfigMeta
from runtime.command_line import run_command
from tuning import __main__ as tune

HEAD = "from configs import Demo, PseudoDemo\n\n\n"
FILES = {
    "bad_empty.py": HEAD,
    "bad_two.py": f'{HEAD}class BadA(Demo):\n    name = "bad_a"\n\n\nclass BadB(Demo):\n'
    '    name = "bad_b"\n',
    "bad_class.py": f'{HEAD}class PseudoDemoSpec(Demo):\n    name = "bad_class"\n',
    "bad_name.py": f'{HEAD}class BadName(Demo):\n    name = "demo_spec"\n',
    "bad_nameless.py": f"{HEAD}class BadNameless(Demo):\n    num_epochs = 3\n",
    "bad_setting.py": f'{HEAD}class BadSetting(Demo):\n    name = "bad_s"\n    num_epoch = 3\n',
    "bad_type.py": f'{HEAD}class BadType(Demo):\n    name = "bad_t"\n    num_epochs = "3"\n',
    "bad_argument.py": f'{HEAD}class BadArgument(Demo):\n    name = "bad_g"\n'
    '    model_params = {"width": (4, 8)}\n',
    "bad_import.py": "import no_such_package\n",
    "bad_error.py": f"{HEAD}\n1 / 0\n",
    "bad_syntax.py": "class Bad(:\n",
    "bad-file.py": HEAD,
    "json.py": HEAD,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, one that is not, data of another shape, and files with mistakes."""
    place = tmp_path_factory.mktemp("place")
    for name, text in FILES.items():
        (place / name).write_text(text)
    data = make_data(place / "input", 40, 8)
    run_here(data, place / "results", settings=("num_epochs=1",))
    demo = place / "results" / "demo"
    (demo / "demo.safetensors").write_text("there already")
    unfinished = shutil.copytree(demo, place / "results" / "unfinished")
    state = json.loads((unfinished / "fold1.json").read_text())
    (unfinished / "fold1.json").write_text(json.dumps({**state, "finished": False}))
    weightless = shutil.copytree(demo, place / "results" / "weightless")
    for path in weightless.glob("fold*.pt"):
        path.unlink()
    config = json.loads((demo / "config.json").read_text())
    for name, changed in {
        "gone": {"class": "GoneDemo"},
        "newer": {"no_such_setting": 1},
        "own": {"reference": "gone.py:Gone"},
        "part": {"criterion": {"class": "GoneLoss"}},
    }.items():
        (place / name).mkdir()
        (place / name / "config.json").write_text(json.dumps({**config, **changed}))
    (place / "damaged").mkdir()
    (place / "damaged" / "config.json").write_text('{"class": "Demo"')
    (place / "empty").mkdir()
    (place / "ligo").mkdir()
    np.save(place / "ligo" / "a.npy", np.zeros((2, 4096)))
    np.save(place / "nan.npy", np.full((3, 3, 4096), np.nan))
    return place


RUN = ["--run", "results/demo"]
NEW = [*RUN, "--out", "scores.csv", "--data"]
DEMO = [
    "--config",
    "Demo",
    "--set",
    *SMALL,
    *(f"{s}_path=input/{s}.csv" for s in ("train", "test")),
]
LR = ["--space", "lr=1e-4..1e-2:log"]


def config(reference: str) -> list[str]:
    return ["--config", reference, "--show"]


CASES = {
    # --- experiments of one's own ---
    "no file": (train, config("nowhere.py:Mine"), "there is no such file"),
    "no class": (train, config("bad_two.py:BadC"), "(did you mean 'BadB'?)"),
    "no experiment": (train, config("bad_empty.py"), "it defines no experiment"),
    "which of two": (train, config("bad_two.py"), "choose bad_two.py:BadA, bad_two.py:BadB"),
    "two classes of one name": (train, config("bad_class.py"), "has a config of this name"),
    "two runs of one name": (train, config("bad_name.py"), "'demo_spec' belongs to DemoSpec"),
    "no name": (train, config("bad_nameless.py"), "give it a `name` of its own"),
    "no setting": (train, config("bad_setting.py"), "did you mean 'num_epochs'"),
    "type of a setting": (train, config("bad_type.py"), "is a str, expected int"),
    "argument of a network": (train, config("bad_argument.py"), "'widths'"),
    "package missing": (train, config("bad_import.py"), "no_such_package"),
    "error in the file": (train, config("bad_error.py"), "division by zero, line 5"),
    "no Python": (train, config("bad_syntax.py"), "SyntaxError"),
    "name of no module": (train, config("bad-file.py"), "is no name of a Python module"),
    "name of Python's module": (train, config("json.py"), "there is another module 'json'"),
    "no package": (train, config("no_such.mine:Mine"), "Python finds no module 'no_such.mine'"),
    "no run": (train, config("results/nothing/config.json"), "there is no such file"),
    "damaged run": (train, config("damaged/config.json"), "damaged/config.json is not a JSON file"),
    "experiment that is gone": (train, config("gone/config.json"), "GoneDemo, which is not there"),
    "file that is gone": (train, config("own/config.json"), "gone.py:Gone, which is not there"),
    "class that is gone": (train, config("part/config.json"), "names the class 'GoneLoss'"),
    "setting of a newer version": (train, config("newer/config.json"), "no_such_setting"),
    "new file over another": (train, ["--new", "bad_two.py"], "is there already: name another"),
    "new file of no module": (train, ["--new", "my-file.py"], "expected a file like mine.py"),
    "new file nowhere": (train, ["--new", "no/mine.py"], "there is no folder no: make it first"),
    # --- export ---
    "export of no run": (export, ["--run", "empty"], "holds no config.json"),
    "export of an unfinished run": (export, ["--run", "results/unfinished"], "--allow_unfinished"),
    "export without weights": (export, ["--run", "results/weightless"], "fold0.pt"),
    "format": (export, [*RUN, "--format", "keras"], "expected onnx, torch, safetensors"),
    "ending": (export, [*RUN, "--out", "a.pt2"], "ends in .onnx"),
    "export over another": (export, [*RUN, "--format", "safetensors"], "nothing was changed"),
    # --- new samples ---
    "samples of another shape": (predict, [*NEW, "ligo"], "(2, 4096)"),
    "no samples": (predict, [*NEW, "empty"], "empty"),
    "samples nowhere": (predict, [*NEW, "nowhere"], "nowhere"),
    "samples of NaN": (predict, [*NEW, "nan.npy"], "NaN"),
    "kind of scores": (predict, [*RUN, "--data", "input", "--out", "a.xls"], "a.xls"),
    "scores by an unfinished run": (
        predict,
        ["--run", "results/unfinished", "--data", "input", "--out", "scores.csv"],
        "--allow_unfinished",
    ),
    # --- tuning ---
    "no space": (tune, DEMO, "--space names no setting"),
    "space of no setting": (tune, [*DEMO, "--space", "num_epoch=1..2"], "'num_epochs'"),
    "space without range": (tune, [*DEMO, "--space", "lr=1"], "expected LOW..HIGH or a list"),
    "empty space": (tune, [*DEMO, "--space", "lr=2..1"], "the range is empty"),
    "space of the metric": (tune, [*DEMO, "--space", "cv=[2,3]"], "cannot be compared"),
    "class in a space": (tune, [*DEMO, "--space", "optimizer=[Adam,SDG]"], "did you mean 'SGD'"),
    "no trials": (tune, [*DEMO, *LR, "--trials", "0"], "expected 1 or more"),
    "pruned before": (tune, [*DEMO, *LR, "--prune_after", "0"], "expected 1 or more"),
    "seed": (tune, [*DEMO, *LR, "--seed", "-1"], "expected 0 or more"),
    "fold to tune": (tune, [*DEMO, *LR, "--limit_fold", "7"], "has folds 0 to 1"),
    "pseudo-labels": (tune, ["--config", "PseudoDemo", *LR], "learns from pseudo-labels"),
    "name of a study": (tune, [*DEMO, *LR, "--study", "../up"], "plain folder name"),
    "reserved study": (tune, [*DEMO, *LR, "--study", "dry_run"], "choose another"),
    "nothing to learn from": (tune, ["--config", "Demo", *LR], "make it with prep_data.py"),
    "name of a run": (train, [*DEMO, "name=tuning"], "holds the studies of `python -m tuning`"),
}


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in FILES:
        if name.startswith("bad"):
            sys.modules.pop(name.removesuffix(".py"), None)


def files_of(folder: Path) -> dict[Path, int]:
    """Return the files of a folder and when each was written.

    Without locks, what Python compiled, and what predict.py keeps to continue with.
    """
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


@pytest.mark.usefixtures("_own_registry")
@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case: str, place: Path, monkeypatch, capsys) -> None:
    command, arguments, message = CASES[case]
    if command is tune and importlib.util.find_spec("optuna") is None:
        pytest.skip("needs pip install -e '.[tune]'")
    monkeypatch.chdir(place)
    before = files_of(place)
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(command.main, arguments))
    error = capsys.readouterr().err
    assert end.value.code == 2, error
    lines = [line for line in error.splitlines() if not line.startswith("\r")]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert files_of(place) == before


def test_there_are_many() -> None:
    assert len(CASES) >= 50


def test_a_missing_optuna_is_named(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(tune.main, [*DEMO, *LR]))
    assert end.value.code == 2
    assert "pip install -e '.[tune]'" in capsys.readouterr().err


def test_tune_is_not_started_by_torchrun(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        run_command(functools.partial(tune.main, [*DEMO, *LR]))
    assert end.value.code == 2
    assert "start it once for each GPU" in capsys.readouterr().err
