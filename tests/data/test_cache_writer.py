"""Writing a cache: all rows or none, a kill loses little, finished caches of others stay."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from small_samples import make_files

from data import cache_writer
from data.cache_writer import write_cache
from data.strain_cache import PAGE, StrainCache
from runtime import locks
from runtime.errors import UserError
from runtime.locks import hold


def test_cache_holds_what_the_files_hold(files, cache_path: Path) -> None:
    ids, _, strain = files
    cache = StrainCache(cache_path)
    assert len(cache) == 150
    assert cache.ids.tolist() == ids
    np.testing.assert_array_equal(cache.read(range(150)), strain.astype(np.float32))
    assert not cache_path.with_name("train_cache.f32.part").exists()
    # magic, page-aligned rows, and nothing after them
    assert cache_path.read_bytes()[:8] == b"G2STRAIN"
    assert cache.header["data_offset"] % PAGE == 0
    assert cache_path.stat().st_size == cache.header["data_offset"] + 150 * 4 * 3 * 4096


def test_several_processes_write_the_same_file(files, cache_path: Path, tmp_path: Path) -> None:
    assert write_cache(tmp_path / "two.f32", files[0], files[1], processes=2) == 150
    assert (tmp_path / "two.f32").read_bytes() == cache_path.read_bytes()


def test_a_whole_cache_is_left_alone_until_a_file_changes(tmp_path: Path) -> None:
    ids, paths, _ = make_files(tmp_path / "files", 3)
    path = tmp_path / "c.f32"
    assert write_cache(path, ids, paths, processes=1) == 3
    inode = path.stat().st_ino
    assert write_cache(path, ids, paths, processes=1) == 0
    assert path.stat().st_ino == inode
    np.save(paths[1], np.full((3, 4096), 2e-20))
    os.utime(paths[1], ns=(0, 12345))
    before = path.read_bytes()
    for some in (slice(None), slice(2)):  # a changed file, and other ids
        with pytest.raises(
            UserError, match=r"c\.f32 is a finished cache of other samples.*--overw"
        ):
            write_cache(path, ids[some], paths[some], processes=1)
    assert path.read_bytes() == before
    assert write_cache(path, ids, paths, processes=1, overwrite=True) == 3
    assert StrainCache(path).read([1])[0, 0, 0] == np.float32(2e-20)
    assert write_cache(path, ids[:2], paths[:2], processes=1, overwrite=True) == 2
    aside = [file.read_bytes() for file in path.parent.glob("c.2*.f32")]
    assert len(aside) == 2
    assert before in aside


def test_files_that_were_only_copied_are_the_same_samples(tmp_path: Path) -> None:
    """A copy without times of change: the strain decides, and the cache stays as it is."""
    ids, paths, _ = make_files(tmp_path / "files", 3)
    path = tmp_path / "c.f32"
    write_cache(path, ids, paths, processes=1)
    before = path.read_bytes()
    for file in paths:
        os.utime(file, ns=(0, 12345))
    assert write_cache(path, ids, paths, processes=1) == 0
    assert path.read_bytes() == before


KILLED = """
import sys, json, os, signal
from data import cache_writer
ids, paths, out = json.load(open(sys.argv[1]))
cache_writer.SYNC_ROWS = 1
real, calls = cache_writer.write_rows, []
def write_rows(*task):
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(task)
    return real(*task)
cache_writer.write_rows = write_rows
cache_writer.write_cache(out, ids, paths, processes=1)
"""


def test_a_killed_writer_goes_on(files, cache_path: Path, tmp_path: Path) -> None:
    ids, paths, _ = files
    out = tmp_path / "c.f32"
    (tmp_path / "task.json").write_text(json.dumps([ids, [str(p) for p in paths], str(out)]))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "task.json")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    part = out.with_name("c.f32.part")
    assert part.exists()
    assert not out.exists()
    done = np.frombuffer(part.read_bytes()[-150:], np.uint8)
    assert done.sum() == 128
    assert write_cache(out, ids, paths, processes=1) == 150 - 128
    assert out.read_bytes() == cache_path.read_bytes()


def test_a_part_of_other_ids_is_begun_anew(files, cache_path: Path, tmp_path: Path) -> None:
    ids, paths, _ = make_files(tmp_path / "other", 70, seed=1)
    out = tmp_path / "c.f32"
    paths[69].rename(tmp_path / "away")
    paths[69].write_bytes(b"")
    with pytest.raises(UserError, match=paths[69].name):
        write_cache(out, ids, paths, processes=1)
    part = out.with_name("c.f32.part")
    assert np.frombuffer(part.read_bytes()[-70:], np.uint8).sum() == 64  # a bad file loses little
    assert write_cache(out, files[0], files[1], processes=1) == 150
    assert out.read_bytes() == cache_path.read_bytes()


def test_a_part_of_as_many_other_ids_is_begun_anew(tmp_path: Path) -> None:
    ids, paths, strain = make_files(tmp_path / "a", 70)
    others, other_paths, _ = make_files(tmp_path / "b", 70, seed=1)
    np.save(other_paths[69], np.zeros(3))
    with pytest.raises(UserError, match="wrong shape"):
        write_cache(tmp_path / "c.f32", others, other_paths, processes=1)
    assert write_cache(tmp_path / "c.f32", ids, paths, processes=1) == 70
    cache = StrainCache(tmp_path / "c.f32")
    assert cache.ids.tolist() == ids
    np.testing.assert_array_equal(cache.read(range(70)), strain.astype(np.float32))


def test_a_bad_file_is_named_from_a_worker_too(files, tmp_path: Path) -> None:
    ids, paths, _ = make_files(tmp_path / "files", 130)
    np.save(paths[100], np.zeros((2, 2)))
    with pytest.raises(UserError, match=rf"{paths[100].name}.*wrong shape"):
        write_cache(tmp_path / "c.f32", ids, paths, processes=2)
    assert not (tmp_path / "c.f32").exists()


def test_what_cannot_be_written_is_refused(
    files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, paths, _ = files
    out = tmp_path / "c.f32"
    with pytest.raises(UserError, match="no samples"):
        write_cache(out, [], [])
    with pytest.raises(UserError, match="doubled"):
        write_cache(out, [ids[0], ids[0]], paths[:2])
    with pytest.raises(UserError, match="ASCII"):
        write_cache(out, ["é"], paths[:1])
    with pytest.raises(UserError, match="1 ids but 2 files"):
        write_cache(out, ids[:1], paths[:2])
    with pytest.raises(UserError, match=r"gone\.npy"):
        write_cache(out, ids[:1], [tmp_path / "gone.npy"])
    out.mkdir()
    with pytest.raises(UserError, match=r"c\.f32 is a folder: move it away"):
        write_cache(out, ids, paths, overwrite=True)
    out.rmdir()
    monkeypatch.setattr(
        cache_writer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})
    )
    with pytest.raises(UserError, match="GiB free"):
        write_cache(out, ids, paths)


def test_the_advice_of_every_refused_cache_works(files, cache_path: Path, tmp_path: Path) -> None:
    """`--cache --overwrite` gets out of each: whatever is there is moved aside, and said."""
    ids, paths, _ = files
    out = tmp_path / "c.f32"
    for content in (b"a diary", b"", cache_path.read_bytes()[:-1], other_cache(tmp_path)):
        out.write_bytes(content)
        with pytest.raises(UserError, match=r"prep_data\.py --cache --overwrite"):
            StrainCache(out).rows_of(ids)
        write_cache(out, ids, paths, processes=1, overwrite=True)
        assert out.read_bytes() == cache_path.read_bytes()
        (aside,) = tmp_path.glob("c.2*.f32")
        assert aside.read_bytes() == content
        aside.unlink()


def other_cache(folder: Path) -> bytes:
    ids, paths, _ = make_files(folder / "others", 2, seed=1)
    write_cache(folder / "others.f32", ids, paths, processes=1)
    return (folder / "others.f32").read_bytes()


def test_a_file_that_is_no_cache_stays_without_the_flag(files, tmp_path: Path) -> None:
    (tmp_path / "c.f32").write_text("a diary")
    with pytest.raises(UserError, match="not a strain cache: add --overwrite to move it aside"):
        write_cache(tmp_path / "c.f32", files[0], files[1])
    assert (tmp_path / "c.f32").read_text() == "a diary"


def test_a_writer_killed_before_the_renaming_has_lost_nothing(
    files, cache_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """Its map of done rows is gone, and with --overwrite so is the cache that was there."""
    ids, paths, _ = files
    out = tmp_path / "c.f32"
    out.write_bytes(other_cache(tmp_path))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_writer.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_cache(out, ids, paths, processes=1, overwrite=True)
    assert "c.f32: moved aside to c.2" in caplog.text
    assert not out.exists()
    assert write_cache(out, ids, paths, processes=1) == 0  # no file is read again
    assert out.read_bytes() == cache_path.read_bytes()


def test_two_writers_of_one_cache(files, tmp_path: Path) -> None:
    out = tmp_path / "c.f32"
    with (
        hold(cache_writer.lock_path(out)),
        pytest.raises(UserError, match=r"c\.f32 is being written by another process \(process"),
    ):
        write_cache(out, files[0], files[1], processes=1)
    assert not out.exists()
    assert write_cache(out, files[0], files[1], processes=1) == len(files[0])


def test_a_writer_that_came_late_leaves_the_finished_cache_alone(
    files, cache_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process stands still just before its lock while the first one finishes."""
    ids, paths, _ = files
    out = tmp_path / "c.f32"
    out.with_name("c.f32.part").write_bytes(b"")  # of a killed writer
    finished = []

    @contextlib.contextmanager
    def late(path: Path, **options: object):
        if not finished:
            finished.append(out)
            write_cache(out, ids, paths, processes=1)
        with hold(path, **options):
            yield

    monkeypatch.setattr(cache_writer, "hold", late)
    assert write_cache(out, ids, paths, processes=1) == 0
    assert finished
    assert out.read_bytes() == cache_path.read_bytes()


def test_a_file_system_without_locks(
    files, cache_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lustre without the flock option answers ENOSYS."""

    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    assert write_cache(tmp_path / "c.f32", files[0], files[1], processes=1) == 150
    assert (tmp_path / "c.f32").read_bytes() == cache_path.read_bytes()
