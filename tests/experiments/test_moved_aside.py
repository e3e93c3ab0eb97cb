"""Results that are moved aside: whole, and completed where the move was killed half-way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.moved_aside import JOURNAL, complete_move, is_moved_aside, move_aside
from runtime.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    (folder / "tensorboard" / "fold0").mkdir(parents=True)
    (folder / "tensorboard" / "fold1").mkdir()
    for name in ("fold0.pt", "fold1.pt", "config.json", "tensorboard/fold0/events"):
        (folder / name).write_text(name)
    return folder


def test_files_move_and_descriptions_are_copied(folder: Path) -> None:
    names = ["fold0.pt", "tensorboard/fold0", "absent.pt"]
    target = move_aside(folder, names, copied=["fold1.pt"], described_by=["config.json"])
    assert is_moved_aside(target)
    assert target.parent == folder.parent
    assert not is_moved_aside(folder)
    assert (target / "fold0.pt").read_text() == "fold0.pt"
    assert (target / "tensorboard" / "fold0" / "events").exists()
    assert not (folder / "fold0.pt").exists()
    assert not (folder / "tensorboard" / "fold0").exists()
    for name in ("fold1.pt", "config.json"):
        assert (folder / name).read_text() == (target / name).read_text() == name
    assert not (folder / JOURNAL).exists()


def test_nothing_to_move_makes_no_folder(folder: Path) -> None:
    assert move_aside(folder, ["absent.pt"], described_by=["config.json"]) is None
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]


def test_two_moves_in_one_second_are_two_folders(folder: Path) -> None:
    first = move_aside(folder, ["fold0.pt"])
    second = move_aside(folder, ["fold1.pt"])
    assert first != second
    assert is_moved_aside(first)
    assert is_moved_aside(second)


def test_a_move_that_was_killed_is_completed(folder: Path, monkeypatch) -> None:
    moved = []

    def killed_at_the_second(source: Path, target: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(source)
        source.rename(target)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "move", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            move_aside(folder, ["fold0.pt", "fold1.pt"], described_by=["config.json"])
    assert (folder / "fold1.pt").exists()
    complete_move(folder)
    (target,) = folder.parent.glob("demo.*")
    names = {path.name for path in target.iterdir()}
    assert names == {"fold0.pt", "fold1.pt", "config.json"}
    assert {path.name for path in folder.iterdir()} == {"config.json", "tensorboard"}
    complete_move(folder)  # nothing is left to do


def test_a_run_may_have_a_point_in_its_name(tmp_path: Path) -> None:
    assert not is_moved_aside(tmp_path / "demo.v2")
    assert not is_moved_aside(tmp_path / "demo.20261128")


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"to": "demo.20260102-030405", "move": ["a"]},
        {"to": "demo.20260102-030405", "move": "fold0.pt", "copy": []},
        {"to": "other.20260102-030405", "move": [], "copy": []},
        {"to": "demo.20260102-030405/..", "move": [], "copy": []},
        {"to": "demo/../x.20260102-030405", "move": [], "copy": []},
        {"to": "demo.20260102-030405", "move": ["../other/fold0.pt"], "copy": []},
        {"to": "demo.20260102-030405", "move": [], "copy": ["/etc/hostname"]},
    ],
)
def test_a_damaged_journal_moves_nothing(folder: Path, content) -> None:
    (folder / JOURNAL).write_text(json.dumps(content))
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(UserError, match=r"demo/\.moving_aside\.json.*remove this file"):
        complete_move(folder)
    assert sorted(folder.parent.rglob("*")) == before
