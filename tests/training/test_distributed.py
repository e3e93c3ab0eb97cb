"""Several processes: two equal one of twice the batch and die together; one alone is as it was."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from chaos import differences
from child_processes import run_ranks
from paths import HELPERS
from small_run import make_data
from torch import nn

from runtime import locks
from runtime.errors import UserError
from runtime.files import read_json
from training import distributed

RUN = str(HELPERS / "parallel_run.py")


def start(
    data: Path, folder: Path, processes: int, *extra: str, die: str | None = None
) -> subprocess.Popen:
    """Start a run of several processes by torchrun, with batches of two samples in all."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    line = [sys.executable, *launcher, RUN, *arguments(data, folder, processes, *extra)]
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NOTES": str(folder)}
    if die is not None:
        environment["DIE"] = die
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def arguments(
    data: Path, folder: Path, processes: int, *extra: str, settings: Sequence[str] = ()
) -> list[str]:
    return [
        "--config",
        "Parallel",
        "--results",
        str(folder),
        "--checkpoint_every",
        "0",
        *extra,
        "--set",
        f"batch_size={2 // processes}",
        f"train_path={data / 'train.csv'}",
        f"test_path={data / 'test.csv'}",
        *settings,
    ]


def run(data: Path, folder: Path, processes: int, *extra: str, settings: Sequence[str] = ()) -> str:
    """Do the same without torchrun, in forks that need not import torch; return the first's log."""

    def main(line: list[str]) -> int:
        os.environ["NOTES"] = str(folder)
        import parallel_run  # in the forks alone: it defines an experiment

        return parallel_run.main(line)

    folder.mkdir(exist_ok=True)
    line = arguments(data, folder, processes, *extra, settings=settings)
    ended = run_ranks(main, line, folder / "printed", processes)
    assert [code for code, _ in ended] == [0] * processes, ended
    return ended[0][1]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input")


@pytest.fixture(scope="module")
def results(data: Path, tmp_path_factory) -> dict[int, Path]:
    """The folders of a run of one process and of the same of two."""
    found = {processes: tmp_path_factory.mktemp(f"results{processes}") for processes in (1, 2)}
    run(data, found[1], 1)
    process = start(data, found[2], 2)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return found


def history(folder: Path) -> np.ndarray:
    """The scores of every epoch of both folds, (4, 4)."""
    with open(folder / "parallel" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("train_loss", "train_metric", "valid_loss", "valid_metric")
    return np.array([[float(row[name]) for name in names] for row in rows])


def test_two_processes_leave_what_one_leaves(results: dict[int, Path]) -> None:
    one, two = (history(results[processes]) for processes in (1, 2))
    assert one.shape == (4, 4)
    assert one[1, 0] < one[0, 0] - 1e-3  # it learns: the curves are no straight lines
    # Losses and scores of order one: sums of two processes are rounded otherwise, and Adam makes
    # steps of that. Torch 2.6 showed 1.5e-5.
    np.testing.assert_allclose(two, one, rtol=0, atol=5e-5)
    names, scores = [], []
    for folder in results.values():
        files = (folder / "parallel").iterdir()
        names.append(sorted(path.name for path in files if path.suffix != ".log"))
        scores.append(read_json(folder / "parallel" / "summary.json"))
    assert names[0] == names[1]
    assert {"fold0.pt", "fold1_last.pt", "outoffolds.npy", "submission.csv"} <= set(names[0])
    for key in ("oof_auc", "test_auc"):
        assert scores[0][key] == pytest.approx(scores[1][key], abs=1e-5)
    for name in ("outoffolds.npy", "predictions.npy"):
        arrays = [np.load(folder / "parallel" / name) for folder in results.values()]
        # A bias before a batch norm has no gradient but rounding, and Adam makes steps of that.
        np.testing.assert_allclose(*arrays, rtol=0, atol=1e-3)


def test_without_synced_batch_norm_the_number_of_processes_counts(
    data: Path, results: dict[int, Path], tmp_path: Path
) -> None:
    """So the tests above see whether it is synced."""
    run(data, tmp_path, 2, "--limit_fold", "0", settings=["sync_batch_norm=false"])
    apart = np.abs(history(tmp_path)[:2, 0] - history(results[1])[:2, 0])
    assert apart.max() > 1e-4


@pytest.mark.slow
def test_two_compiled_processes_end_nearly_alike_but_for_batch_norm(
    data: Path, results: dict[int, Path], tmp_path: Path
) -> None:
    process = start(data, tmp_path, 2, "--limit_fold", "0", "--compile")
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "--compile leaves out every batch norm" in output + error
    # Compiled code sums in another order.
    np.testing.assert_allclose(history(tmp_path)[:2], history(results[1])[:2], atol=0.01)


def test_only_the_first_process_writes(results: dict[int, Path]) -> None:
    first, second = ((results[2] / f"writes{rank}").read_text() for rank in (0, 1))
    assert "/.fold0." in first
    assert "/.submission." in first  # on its way to its name
    assert second == ""


def test_when_one_is_killed_the_other_ends_and_both_go_on_within_the_epoch(
    data: Path, results: dict[int, Path], tmp_path: Path
) -> None:
    started = time.monotonic()
    process = start(data, tmp_path, 2, die="1,27")  # an epoch has 15 steps
    _, error = process.communicate(timeout=300)
    assert process.returncode not in (0, None)
    assert time.monotonic() - started < 120, error
    assert f"Signal {signal.SIGKILL.value} (SIGKILL)" in error
    output = run(data, tmp_path, 2, "--resume")
    assert "fold 0: continues from epoch 2, batch 11" in output  # saved every ten steps
    assert list(differences(results[2] / "parallel", tmp_path / "parallel")) == []


def test_two_processes_equal_one_with_twice_the_batch(tmp_path) -> None:
    results = {}
    for processes, batch_size in ((1, 16), (2, 8)):
        folder = tmp_path / str(processes)
        ended = run_ranks(toy.main, [str(folder), str(batch_size)], folder, processes)
        assert [code for code, _ in ended] == [0] * processes, ended
        with np.load(folder / "result.npz", allow_pickle=False) as content:
            results[processes] = dict(content)
    # The sums run in another order: float32 rounding, carried through 39 steps of Adam.
    np.testing.assert_allclose(results[1]["history"], results[2]["history"], atol=1e-5)
    np.testing.assert_allclose(results[1]["by_step"], results[2]["by_step"], atol=1e-5)
    np.testing.assert_allclose(results[1]["prediction"], results[2]["prediction"], atol=1e-4)


def test_one_process_gathers_and_shares_with_nobody() -> None:
    network = nn.Linear(2, 1)
    assert distributed.wrap(network, torch.device("cpu"), sync_batch_norm=True) is network
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.any_of([0, "a wish", None], torch.device("cpu")) == [False, True, False]
    assert distributed.gather_objects("mine") == ["mine"]
    column = torch.ones(3, requires_grad=True)
    (rows,) = distributed.gather_rows(column)
    assert torch.equal(rows, column)
    assert not rows.requires_grad


def test_a_free_gpu_is_taken_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lock per GPU; the second search of this process meets the lock of the first."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    uuids = [types.SimpleNamespace(uuid=f"gpu-{index}") for index in range(2)]
    monkeypatch.setattr(torch.cuda, "get_device_properties", uuids.__getitem__)
    held_before = set(locks.held)
    try:
        assert [distributed.take_free_gpu(), distributed.take_free_gpu()] == ["0", "1"]
        with pytest.raises(UserError, match="other runs have taken all 2 GPUs: start fewer"):
            distributed.take_free_gpu()
    finally:
        for lock in locks.held - held_before:
            os.close(lock)
            locks.held.discard(lock)


def test_flags_on_the_device_are_joined_and_read_once() -> None:
    flags = torch.tensor([True, False, True])
    assert distributed.any_of(flags, torch.device("cpu")) == [True, False, True]
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert distributed.any_of(flags, torch.device("cpu")) == [True, False, True]
        assert distributed.any_of([0, 1], torch.device("cpu")) == [False, True]
    finally:
        distributed.stop()
