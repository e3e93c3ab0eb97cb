"""How much faster is a shuffled batch of 64 read from the cache than from single files?

The files are float64, as the competition's. Their side is the quickest plain way: `np.load` of each
into its place in one float32 array. Ours is the data set's own way from the cache to a batch. Both
read every sample once, in an order that is new for each round, first with all of it in the
system's memory, then with all of it dropped from there before every round.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.random_data import sample_ids
from benchmarks.harness.timing import Spread, paired_ratios, time_calls
from data.cache_writer import write_cache
from data.strain_cache import StrainCache
from datasets import G2NetDataset
from physics.constants import TYPICAL_STRAIN
from physics.observation import COMPETITION
from runtime.command_line import run_command
from runtime.errors import UserError

BATCH = 64
TARGETS = {"cpu": 5.0}
REASONS: dict[tuple[str, str], str] = {}  # by (key of the row, kind of device)


def write_files(folder: Path, ids: Sequence[str]) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"{name}.npy" for name in ids]
    for path in paths:
        np.save(path, rng.normal(0, TYPICAL_STRAIN, COMPETITION.shape))
    return paths


def load_files(paths: Sequence[Path]) -> np.ndarray:
    """Return the strain of some files, (n, detector, time) float32."""
    strain = np.empty((len(paths), *COMPETITION.shape), np.float32)
    for place, path in enumerate(paths):
        strain[place] = np.load(path)
    return strain


def drop_from_memory(paths: Iterable[Path]) -> None:
    """Ask the system to forget what it keeps of some files in its memory."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # what is not on the disk yet cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def open_dataset(paths: Sequence[Path], cache_path: Path) -> G2NetDataset:
    return G2NetDataset(None, ids=[path.stem for path in paths], cache=StrainCache(cache_path))


def read_all(read: Callable[[np.ndarray], object], batches: np.ndarray) -> None:
    for rows in batches:
        read(rows)


def timed_rounds(
    settings: BenchmarkSettings, rounds: int, paths: Sequence[Path], cache_path: Path, cold: bool
) -> dict[str, list[float]]:
    """Return the seconds per batch of each round, from the cache and from files."""
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    dataset = open_dataset(paths, cache_path)
    for number in range(rounds + (not cold)):  # without a warm memory there is no warming up
        # (n,) -> (batches, BATCH)
        batches = rng.permutation(len(paths)).reshape(-1, min(BATCH, len(paths)))
        if cold:
            del dataset  # what is mapped into a process stays in memory, so nobody may have it open
            drop_from_memory([cache_path, *paths])
            dataset = open_dataset(paths, cache_path)
        ways = {
            "ours": dataset.__getitems__,
            "theirs": lambda rows: load_files([paths[row] for row in rows]),
        }
        for name, read in ways.items():
            seconds = time_calls(partial(read_all, read, batches), settings.device)
            if cold or number:
                times[name].append(seconds / len(batches))
        del ways, read
    return times


def check_same(paths: Sequence[Path], cache_path: Path) -> None:
    """Raise a UserError if cache and files hold different strain.

    Raises:
        UserError: cache and files hold different strain.
    """
    rows = StrainCache(cache_path).read(np.arange(len(paths)))
    if not np.array_equal(rows, load_files(paths)):
        raise UserError("cache and files hold different strain, so their times are not compared")


def measure(settings: BenchmarkSettings) -> Findings:
    n = settings.choose(cpu=64 * BATCH, cuda=64 * BATCH, quick=BATCH)
    rounds = settings.rounds(9)
    rows = []
    with tempfile.TemporaryDirectory(prefix="reading_", dir=settings.folder) as name:
        folder = Path(name)
        ids = sample_ids(n)
        paths = write_files(folder, ids)
        cache_path = folder / "cache.f32"
        write_cache(cache_path, ids, paths, processes=1, show=False)
        check_same(paths[:BATCH], cache_path)
        kinds = {"warm": False}
        if hasattr(os, "posix_fadvise"):
            kinds["cold"] = True
        for kind, cold in kinds.items():
            times = timed_rounds(settings, rounds, paths, cache_path, cold)
            key = f"reading.{kind}"
            where = "dropped from memory" if cold else "in memory"
            rows.append(
                Measurement(
                    key,
                    f"reading shuffled batches from the cache, {where}",
                    "np.load of the single files",
                    paired_ratios(times["theirs"], times["ours"]),
                    "×",
                    True,
                    {} if cold else TARGETS,
                    Spread.of(times["ours"]),
                    Spread.of(times["theirs"]),
                    settings={"batch": BATCH, "samples": n},
                    reason=REASONS.get((key, settings.device.type)),
                    extra={"rounds": rounds},
                )
            )
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("reading", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
