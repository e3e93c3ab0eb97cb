"""Signals, locks and full disks: a run that is asked to stop saves, two never share a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from paths import HELPERS, ROOT
from small_run import command, make_data, run, same_arrays

from experiments.predictions import save_array
from runtime import interruption
from runtime.errors import UserError
from runtime.files import write_json
from runtime.interruption import Interrupted
from runtime.locks import hold, is_held, run_lock
from training.checkpoints import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input")


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("results")
    run(data, results)
    return results


def start(
    data: Path, results: Path, *extra: str, settings: tuple[str, ...] = ()
) -> subprocess.Popen:
    return subprocess.Popen(
        command(data, results, *extra, settings=settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Read the log until a line holds some text."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {process.stderr.read()}")


@pytest.mark.parametrize(
    ("number", "code", "after"),
    [
        (signal.SIGTERM, 143, "fold0 epoch 1/2"),
        (signal.SIGINT, 130, "fold1 epoch 1/2"),
        (signal.SIGUSR1, 138, "training, 2 of 2 folds"),
    ],
)
def test_a_signal_saves_and_the_run_goes_on(
    data: Path, unbroken: Path, tmp_path: Path, number: int, code: int, after: str
) -> None:
    process = start(data, tmp_path)
    wait_for(process, after)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    name = signal.Signals(number).name
    assert error.startswith(f"stopped by {name}: ")
    assert error.count("\n") == 1
    saved = Path(error.split("saved in ")[1].split(";")[0])
    assert load_checkpoint(saved, ("of_ranks",))["state"]["finished"] is False
    assert not (tmp_path / "demo" / "predictions.npy").exists()
    run(data, tmp_path, "--resume")
    assert same_arrays(tmp_path / "demo", unbroken / "demo")


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    code = (
        "import time, sys\nfrom runtime import interruption\n"
        "with interruption.watched():\n"
        "    print('ready', flush=True); time.sleep(30); time.sleep(30)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # the first is only noted
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130


def test_signals_are_noted_in_order_and_not_in_readers() -> None:
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with interruption.watched():
        assert not interruption.requested()
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested()
        assert Interrupted().exit_code == 138
        reader = os.fork()
        if reader == 0:  # a reader process, forked with the handlers
            interruption.noted.clear()
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(len(interruption.noted))
        assert os.waitpid(reader, 0)[1] == 0
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    interruption.noted.clear()


# --- locks -----------------------------------------------------------------------------------


def test_two_runs_into_one_folder(data: Path, tmp_path: Path) -> None:
    first = start(data, tmp_path, settings=("num_epochs=400", "callbacks.0.patience=400"))
    wait_for(first, "fold0 epoch 1/400")
    done = run(data, tmp_path, code=2)
    assert f"in use by another run (process {first.pid} on " in done.stderr
    done = run(data, tmp_path, "--limit_fold", "0", code=2)
    assert "in use by another run" in done.stderr
    first.kill()  # a dead process keeps nothing
    first.communicate()
    run(data, tmp_path)


def test_folds_may_be_trained_side_by_side(data: Path, unbroken: Path, tmp_path: Path) -> None:
    folds = [start(data, tmp_path, "--limit_fold", fold, "--resume") for fold in "01"]
    for process in folds:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    run(data, tmp_path, "--inference")
    assert same_arrays(tmp_path / "demo", unbroken / "demo")


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


# --- full disks ------------------------------------------------------------------------------


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
    import torch

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


# --- several processes -----------------------------------------------------------------------


def torchrun(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            str(HELPERS / "toy.py"),
            str(folder),
            "8",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_when_one_process_dies_the_other_ends_too(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "die")
    started = time.monotonic()
    _, error = process.communicate(timeout=90)
    assert process.returncode != 0
    assert time.monotonic() - started < 60, error


def test_a_bad_loss_on_one_process_is_left_out_by_both(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "poison")
    timer = threading.Timer(90, process.kill)
    timer.start()
    _, error = process.communicate()
    timer.cancel()
    assert process.returncode == 0, error
    with np.load(tmp_path / "result.npz", allow_pickle=False) as content:
        assert np.isfinite(content["prediction"]).all()
    names = sorted(path.name for path in tmp_path.iterdir())
    # of rank 0 alone
    assert names == ["fold0.json", "fold0.pt", "fold0_last.pt", "result.npz"]


def test_a_run_in_another_thread_trains(data: Path, tmp_path: Path) -> None:
    """As sweeps and notebooks start it: Python catches signals in the main thread only."""
    from train import main

    line = command(data, tmp_path, "--silent", "--limit_fold", "0", settings=("num_epochs=1",))
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(line[2:])))
    thread.start()
    thread.join(timeout=120)
    assert codes == [0]
    assert (tmp_path / "demo" / "fold0.pt").exists()
