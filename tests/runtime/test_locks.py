"""Locks: one run a folder, one a fold, none left by a killed run."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from paths import ROOT

from runtime.errors import UserError
from runtime.locks import hold, is_held, run_lock


def test_locks(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        for fold in (None, 1):
            with pytest.raises(UserError, match="in use"), run_lock(tmp_path, fold):
                pass
    with run_lock(tmp_path, 0):
        with run_lock(tmp_path, 1):
            pass
        for fold in (None, 0):
            with pytest.raises(UserError, match="in use"), run_lock(tmp_path, fold):
                pass
    with run_lock(tmp_path):
        pass


def test_a_reader_that_outlives_a_killed_run_keeps_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, time, pathlib\nfrom runtime import locks\n"
        "with locks.run_lock(pathlib.Path(sys.argv[1]), 0):\n"
        "    reader = os.fork()\n"
        "    if not reader: print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    reader = int(process.stdout.readline())
    with pytest.raises(UserError, match="in use"), run_lock(tmp_path):
        pass
    process.kill()
    process.wait()
    os.kill(reader, 0)  # it is still there
    with run_lock(tmp_path):
        pass
    os.kill(reader, signal.SIGKILL)


def test_who_only_looks_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """A run that asks whether another fold is trained holds that fold's lock for a moment."""
    path = tmp_path / "lock"
    path.touch()
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_SH)
    timer = threading.Timer(0.04, os.close, [file])
    timer.start()
    with hold(path):
        assert not timer.is_alive() or timer.join() is None
    assert not is_held(path)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path / "lock"):
        pass
