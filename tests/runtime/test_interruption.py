"""Signals, locks and full disks: a run that is asked to stop saves, two never share a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import child_processes
import numpy as np
import pytest
import toy
from child_processes import Child, run_ranks
from paths import HELPERS, ROOT
from small_run import command, make_data, run_here, same_arrays

import train
from runtime import interruption
from runtime.interruption import Interrupted
from training.checkpoints import load_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input")


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("results")
    run_here(data, results)
    return results


def start(
    data: Path, results: Path, output: Path, *extra: str, settings: tuple[str, ...] = ()
) -> Child:
    """Start a run in a process of its own, which prints into a file."""
    line = command(data, results, *extra, settings=settings)[2:]
    return child_processes.start(train.main, line, output)


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
    process = start(data, tmp_path, tmp_path / "output")
    process.wait_for(after)
    os.kill(process.pid, number)
    ended, said = process.wait()
    assert ended == code, said
    error = said.splitlines()[-1]
    name = signal.Signals(number).name
    assert error.startswith(f"stopped by {name}: ")
    assert "Traceback" not in said
    saved = Path(error.split("saved in ")[1].split(";")[0])
    assert load_checkpoint(saved, ("of_ranks",))["state"]["finished"] is False
    assert not (tmp_path / "demo" / "predictions.npy").exists()
    run_here(data, tmp_path, "--resume")
    assert same_arrays(tmp_path / "demo", unbroken / "demo")


def test_a_command_line_is_stopped_in_one_sentence(data: Path, tmp_path: Path) -> None:
    """As above, with the streams apart."""
    process = subprocess.Popen(
        command(data, tmp_path, settings=("num_epochs=400", "callbacks.0.patience=400")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert any("fold0 epoch 1/400" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert error.startswith("stopped by SIGTERM: ")
    assert error.count("\n") == 1


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
    settings = ("num_epochs=400", "callbacks.0.patience=400")
    first = start(data, tmp_path, tmp_path / "output", settings=settings)
    first.wait_for("fold0 epoch 1/400")
    done = run_here(data, tmp_path, code=2)
    assert f"in use by another run (process {first.pid} on " in done.stderr
    done = run_here(data, tmp_path, "--limit_fold", "0", code=2)
    assert "in use by another run" in done.stderr
    os.kill(first.pid, signal.SIGKILL)  # a dead process keeps nothing
    first.wait()
    run_here(data, tmp_path)


def test_folds_may_be_trained_side_by_side(data: Path, unbroken: Path, tmp_path: Path) -> None:
    folds = [
        start(data, tmp_path, tmp_path / f"output{fold}", "--limit_fold", fold, "--resume")
        for fold in "01"
    ]
    ended = [process.wait() for process in folds]
    assert [code for code, _ in ended] == [0, 0], ended
    run_here(data, tmp_path, "--inference")
    assert same_arrays(tmp_path / "demo", unbroken / "demo")


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
    process = torchrun(tmp_path, "--fail", "die")
    started = time.monotonic()
    _, error = process.communicate(timeout=300)
    assert process.returncode != 0
    assert time.monotonic() - started < 120, error


def test_a_bad_loss_on_one_process_is_left_out_by_both(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    ended = run_ranks(toy.main, [str(folder), "8", "--fail", "nan"], tmp_path / "printed")
    assert [code for code, _ in ended] == [0, 0], ended
    with np.load(folder / "result.npz", allow_pickle=False) as content:
        assert np.isfinite(content["prediction"]).all()
    names = sorted(path.name for path in folder.iterdir())
    # of rank 0 alone
    assert names == ["fold0.json", "fold0.pt", "fold0_last.pt", "result.npz"]


def test_a_run_in_another_thread_trains(data: Path, tmp_path: Path) -> None:
    """As sweeps and notebooks start it: Python catches signals in the main thread only."""
    line = command(data, tmp_path, "--silent", "--limit_fold", "0", settings=("num_epochs=1",))
    codes = []
    thread = threading.Thread(target=lambda: codes.append(train.main(line[2:])))
    thread.start()
    thread.join(timeout=120)
    assert codes == [0]
    assert (tmp_path / "demo" / "fold0.pt").exists()
