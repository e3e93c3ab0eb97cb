"""Files: whole or not at all, also on a full disk; finished ones are moved aside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.npy_files import save_array
from runtime.errors import UserError
from runtime.files import (
    atomic_path,
    move_aside,
    name_aside,
    read_json,
    read_json_object,
    remove_temporaries,
    write_json,
)
from training.checkpoints import save_checkpoint


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
    write_json(tmp_path / "a.json", {"a": [1, "ü"]})
    assert read_json(tmp_path / "a.json") == {"a": [1, "ü"]}
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match=r"b\.json is not a JSON file"):
        read_json(tmp_path / "b.json")
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "c.json")


def test_a_json_object_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(UserError, match=r"run\.json does not exist"):
        read_json_object(path)
    path.mkdir()
    with pytest.raises(UserError, match=r"run\.json cannot be read .*: restore or remove it"):
        read_json_object(path)
    path.rmdir()
    for content, message in (
        ("{", "is not a JSON file: train again"),
        ("[1]", "holds a list, expected an object: train again"),
        ("{}", "has no entry 'starts': train again"),
        ('{"starts": 1}', "has a int as 'starts', which it never holds: train again"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_json_object(path, {"starts": list}, "train again", required=("starts",))
    path.write_text('{"starts": []}')
    assert read_json_object(path, {"starts": list}) == {"starts": []}


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of one MiB; needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(line, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here: needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:

    path = small_disk / "fold0_last.pt"
    save_checkpoint(path, {"model": {"x": torch.ones(60_000)}})
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"fold0_last\.pt could not be written.*free .* bytes"):
        save_checkpoint(path, {"model": {"x": torch.ones(400_000)}})
    assert path.read_bytes() == before
    with pytest.raises(UserError, match=r"a\.npy could not be written.*free 3,200,128 bytes"):
        save_array(small_disk / "a.npy", np.zeros(400_000))
    with pytest.raises(UserError, match="free some space"):
        write_json(small_disk / "a.json", ["x" * 1000] * 2000)
    assert [entry.name for entry in small_disk.iterdir()] == ["fold0_last.pt"]


def test_what_killed_processes_were_writing_is_removed(tmp_path: Path) -> None:
    stale = [f".train.{'a1' * 6}.tmp.csv", f".train.{'b2' * 6}.tmp.csv", f".index.{'c3' * 6}.tmp"]
    kept = [
        "train.csv",
        f".test.{'a1' * 6}.tmp.csv",
        ".train.a1.tmp.csv",
        f".xtrain.{'a1' * 6}.tmp",
    ]
    for name in (*stale, *kept):
        (tmp_path / name).write_text("half")
    removed = remove_temporaries(tmp_path, ["train.csv", "index"])
    assert sorted(path.name for path in removed) == sorted(stale)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert remove_temporaries(tmp_path / "nowhere", ["train.csv"]) == []


def test_the_working_directory_and_the_root_are_not_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "inner").mkdir(parents=True)
    for where, path in (("set", "."), ("set/inner", ".."), ("set", str(tmp_path / "set"))):
        monkeypatch.chdir(tmp_path / where)
        with pytest.raises(UserError, match=r"set cannot be moved aside while it is the working"):
            move_aside(Path(path))
    with pytest.raises(UserError, match="/ cannot be moved aside"):
        name_aside(Path("/"))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_files_and_folders_are_moved_aside(tmp_path: Path) -> None:
    """Twice within a second too: neither replaces the other."""
    for content in ("one", "two"):
        (tmp_path / "a.csv").write_text(content)
        aside = move_aside(tmp_path / "a.csv")
        assert aside.suffix == ".csv"
        assert aside.read_text() == content
    (tmp_path / "run" / "deep").mkdir(parents=True)
    assert (move_aside(tmp_path / "run") / "deep").is_dir()
    assert len(list(tmp_path.iterdir())) == 3
    assert not (tmp_path / "a.csv").exists()
