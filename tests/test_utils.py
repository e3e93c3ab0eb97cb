"""Errors, files, seeds and notices."""

from __future__ import annotations

import platform
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import utils
from configuration.json_types import format_config
from runtime.console import configure_logging, format_seconds
from runtime.errors import UserError, nearest
from runtime.files import atomic_path
from runtime.seeds import counted_seed, seed_everything


def test_atomic_path_keeps_the_old_content_on_failure(tmp_path) -> None:
    path = tmp_path / "deep" / "a.npy"
    with atomic_path(path) as temporary:
        np.save(temporary, np.arange(3))
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert np.load(path).tolist() == [0, 1, 2]
    assert [found.name for found in path.parent.iterdir()] == ["a.npy"]


def test_json(tmp_path) -> None:
    utils.write_json(tmp_path / "a.json", {"a": [1, "ü"]})
    assert utils.read_json(tmp_path / "a.json") == {"a": [1, "ü"]}
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match=r"b\.json is not a JSON file"):
        utils.read_json(tmp_path / "b.json")
    with pytest.raises(UserError, match="does not exist"):
        utils.read_json(tmp_path / "c.json")


def test_counted_seeds_differ_and_repeat() -> None:
    seeds = {counted_seed(2021, fold, epoch, 3) for fold in range(5) for epoch in range(50)}
    assert len(seeds) == 250
    assert counted_seed(1, 23) != counted_seed(12, 3)
    # Fixed for ever: a resumed run of an older version must draw the same.
    assert counted_seed(2021, 0, "order") == counted_seed(2021, 0, "order")
    seed_everything(1, 2)
    first = (torch.randn(3), np.random.rand(3))  # noqa: NPY002
    seed_everything(1, 2)
    second = (torch.randn(3), np.random.rand(3))  # noqa: NPY002
    assert torch.equal(first[0], second[0])
    assert (first[1] == second[1]).all()


def test_seconds_and_names() -> None:
    assert [format_seconds(s) for s in (42.4, 185, 7805)] == ["42 s", "3 min 05 s", "2 h 10 min"]
    assert nearest("Nspec61", ["Nspec16", "Demo"]) == " (did you mean 'Nspec16'?)"
    assert nearest("zzz", ["Nspec16"]) == ""


def test_require_names_the_extra() -> None:
    with pytest.raises(UserError, match=r"pip install -e '\.\[sim\]'"):
        utils.require("no_such_package.part", "sim")
    assert utils.require("json", "sim").loads("1") == 1


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise UserError('two\\n lines')", 2, "error: two lines\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("return 0", 0, ""),
        ("return 3", 3, ""),
    ],
)
def test_run_command(body: str, code: int, text: str) -> None:
    script = (
        f"from utils import UserError, run_command\ndef main():\n    {body}\nrun_command(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, text)


def test_notify(monkeypatch, caplog) -> None:
    sent = []

    class Apprise:
        def add(self, url: str) -> bool:
            return url.startswith("json://")

        def notify(self, **message: str) -> bool:
            sent.append(message)
            return True

    monkeypatch.setitem(sys.modules, "apprise", types.SimpleNamespace(Apprise=Apprise))
    monkeypatch.delenv("G2NET_NOTIFY", raising=False)
    utils.notify("a", "b")
    assert sent == []
    monkeypatch.setenv("G2NET_NOTIFY", "json://localhost")
    utils.notify("a", "b")
    assert sent == [{"body": "b", "title": "a"}]
    monkeypatch.setenv("G2NET_NOTIFY", "nonsense")
    monkeypatch.setattr(utils.LOGGER, "propagate", True)
    utils.notify("c", "d")
    assert "could not be delivered" in caplog.text


def test_plain_values() -> None:
    assert utils.to_plain({"a": (1, None), "b": UserError, "c": {"d": 1.5}}) == {
        "a": [1, None],
        "b": "UserError",
        "c": {"d": 1.5},
    }
    with pytest.raises(TypeError):
        utils.to_plain(object())


def test_a_config_as_text() -> None:
    plain = {
        "name": "demo",
        "lr": None,
        "params": {"a": 1, "inner": {"b": [2, 3]}},
        "empty": {},
        "steps": [{"class": "Flip", "p": 0.5}, {"class": "Noise"}],
    }
    assert format_config(plain).splitlines() == [
        "name = demo",
        "lr = None",
        "params:",
        "    a = 1",
        "    inner:",
        "        b = [2, 3]",
        "empty = {}",
        "steps:",
        "    - class=Flip  p=0.5",
        "    - class=Noise",
    ]


def test_details_go_to_the_file_alone(tmp_path, capsys) -> None:
    logger = configure_logging(tmp_path / "run.log")
    logger.info("for all")
    logger.debug("for the file")
    configure_logging()
    assert capsys.readouterr().out.splitlines()[0].endswith("for all")
    text = (tmp_path / "run.log").read_text()
    assert "for all" in text
    assert "for the file" in text


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept() -> None:
    code = """
import resource
import sys
import utils

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    utils.keep_freed_memory()
b"x" * 2**26
before = faults()
for _ in range(4):
    b"x" * 2**26
print(faults() - before)
"""
    keep, give_back = (
        int(
            subprocess.run(
                [sys.executable, "-c", code, how],
                check=True,
                capture_output=True,
                text=True,
                cwd=Path(utils.__file__).parent,
            ).stdout
        )
        for how in ("keep", "give back")
    )
    # pages mapped anew: 65,536, or 128 where they are large
    assert keep < 40 < give_back
