"""Processes that share work: results, errors, and no worker that outlives its parent."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from paths import ROOT

from runtime.errors import UserError
from runtime.worker_pool import run_parallel


@pytest.mark.parametrize("processes", [1, 2])
def test_every_result_comes_once(processes: int) -> None:
    results = run_parallel(math.gcd, ((n, 12) for n in range(1, 40)), processes)
    assert sorted(results) == sorted(math.gcd(n, 12) for n in range(1, 40))


@pytest.mark.parametrize("processes", [1, 2])
def test_tasks_are_taken_as_they_are_needed(processes: int) -> None:
    endless = ((n,) for n in itertools.count())
    results = run_parallel(abs, endless, processes)
    assert len(list(itertools.islice(results, 20))) == 20
    results.close()
    assert next(endless)[0] < 20 + 4 * processes


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_reaches_the_caller(processes: int) -> None:
    with pytest.raises(ValueError, match="domain"):
        list(run_parallel(math.sqrt, [(1,), (-1,)], processes))


def test_a_dead_worker_is_reported() -> None:
    with pytest.raises(UserError, match=r"process died.*again"):
        list(run_parallel(os._exit, [(9,), (9,)], 2))


SLEEPER = """
import pathlib, time
from runtime.worker_pool import run_parallel

def work(path):
    pathlib.Path(path).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(run_parallel(work, [("a",), ("b",)], 2))
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    process = subprocess.Popen(
        [sys.executable, "sleeper.py"],
        cwd=tmp_path,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 30
    while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        return
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("a worker outlived its parent")
