"""What does a 25 GiB cache add to the start of a training, until its first batch is there?

Fresh processes, in turn with a cache and without, do what `train.py` does from its start to the
first batch: tables of 546,000 samples, folds, network, optimiser, data sets, readers. Without a
cache the batch comes from single files. The cache has a true header and ids, and a body that is a
hole in the file: what is asked is the cost of having it, not of reading it.

Memory is that of the process and its readers together, pages that they share counted once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT
from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.random_data import (
    ROW_BYTES,
    sample_ids,
    write_sample_table,
    write_sparse_cache,
)
from benchmarks.harness.timed_steps import TINY
from benchmarks.harness.timing import Spread, paired_differences
from physics.constants import TYPICAL_STRAIN
from physics.observation import COMPETITION
from runtime.command_line import run_command
from runtime.errors import UserError

GIBIBYTES = 25
CONFIG = "Nspec16"
N_TEST = 64
SECONDS = {"cpu": 2.0, "cuda": 2.0}
MEGABYTES = {"cpu": 200.0, "cuda": 200.0}
REASONS: dict[str, str] = {}  # by key of the row


def write_inputs(folder: Path, n: int) -> dict[str, list[str]]:
    """Write tables and a sparse cache of n samples; return `--set` with and without the cache.

    Without the cache, all samples are the same file, so that there are not half a million to make
    and remove. With it, the files are absent: they would be compared with the cache, which is a
    hole.
    """
    np.save(
        folder / "sample.npy", np.random.default_rng(0).normal(0, TYPICAL_STRAIN, COMPETITION.shape)
    )
    ids = sample_ids(n)
    # One file for all rows without the cache, missing files for all rows with it.
    write_sample_table(folder / "train.csv", ids, ["sample.npy"] * n)
    write_sample_table(folder / "test.csv", sample_ids(N_TEST, first=n), ["sample.npy"] * N_TEST)
    write_sample_table(folder / "cached.csv", ids, [f"{name}.npy" for name in ids])
    write_sparse_cache(folder / "cache.f32", ids)
    test = f"test_path={folder / 'test.csv'}"
    return {
        "with": [
            test,
            f"train_path={folder / 'cached.csv'}",
            f"train_cache={folder / 'cache.f32'}",
        ],
        "without": [test, f"train_path={folder / 'train.csv'}", "train_cache=none"],
    }


def start_process(
    settings: BenchmarkSettings, folder: Path, workers: int, changes: Sequence[str]
) -> dict[str, Any]:
    """Start a process, wait for its end, and return the figures that it prints."""
    line = [
        sys.executable,
        "-m",
        "benchmarks.data.first_batch",
        "--config",
        CONFIG,
        "--device",
        str(settings.device),
        "--workers",
        str(workers),
        "--results",
        str(folder / "results"),
        "--started",
        repr(time.monotonic()),  # the same clock in all processes of a machine
        "--set",
        *changes,
        *(TINY[CONFIG] if settings.quick else []),
    ]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise UserError(f"a start with {workers} readers failed: {done.stderr[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])  # torch may print warnings before it


def compare(
    settings: BenchmarkSettings,
    folder: Path,
    workers: int,
    rounds: int,
    inputs: dict[str, list[str]],
) -> list[Measurement]:
    """Return the measurements of seconds and, if the system reports it, of memory."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in inputs}
    # In turn, so that a change of the machine's load meets both sides.
    for _ in range(rounds):
        for side, changes in inputs.items():
            found[side].append(start_process(settings, folder, workers, changes))
    seconds = {side: [one["seconds"] for one in ones] for side, ones in found.items()}
    common = {"settings": {"readers": workers, "starts": rounds}, "extra": {"rounds": rounds}}
    key = f"startup.seconds.{workers}"
    what = f"from start to first batch with a {GIBIBYTES} GiB cache, {workers} readers"
    rows = [
        Measurement(
            key,
            what,
            "without a cache",
            paired_differences(seconds["with"], seconds["without"]),
            "s more",
            False,
            SECONDS,
            Spread.of(seconds["with"]),
            Spread.of(seconds["without"]),
            reason=REASONS.get(key),
            **common,
        )
    ]
    # Shared pages are only reported by Linux.
    if any(one["memory"] is None for ones in found.values() for one in ones):
        return rows
    memory = {
        side: [one["memory"]["proportional"] / 1e6 for one in ones] for side, ones in found.items()
    }
    resident = {
        side: Spread.of([one["memory"]["resident"] / 1e6 for one in ones])
        for side, ones in found.items()
    }
    key = f"startup.memory.{workers}"
    common["extra"] = {"rounds": rounds, "resident_counted_in_each_process": resident}
    rows.append(
        Measurement(
            key,
            f"memory of all processes with a {GIBIBYTES} GiB cache, {workers} readers",
            "without a cache",
            paired_differences(memory["with"], memory["without"]),
            "MB more",
            False,
            MEGABYTES,
            Spread.of(memory["with"]),
            Spread.of(memory["without"]),
            "MB",
            reason=REASONS.get(key),
            **common,
        )
    )
    return rows


def measure(settings: BenchmarkSettings) -> Findings:
    n = settings.choose(
        cpu=GIBIBYTES * 2**30 // ROW_BYTES, cuda=GIBIBYTES * 2**30 // ROW_BYTES, quick=500
    )
    rounds = settings.repeats or settings.choose(cpu=5, cuda=5, quick=1)
    with tempfile.TemporaryDirectory(prefix="startup_", dir=settings.folder) as name:
        folder = Path(name)
        inputs = write_inputs(folder, n)
        counts = settings.choose(cpu=(0, 2, 8), cuda=(0, 4, 16), quick=(1,))
        rows = [
            row for workers in counts for row in compare(settings, folder, workers, rounds, inputs)
        ]
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("startup", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
