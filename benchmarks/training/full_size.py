"""What do the parts of a whole project cost at the size of the competition, and how do they grow?

Indexing, checking, caching, the first batch, an epoch of a network that costs nothing, a stack of
20 runs and the report, at a few numbers of samples up to the 560,000 of the competition's training
set. Each is the command itself in a process of its own, with its time and its memory.

Checking and caching read strain, of which 560,000 samples would be 55 GB of files: they are
measured at smaller numbers, and a row beside these extrapolates on a straight line. Both are
measured with one process a core, and with 1, 2 and 4. Everything
else is measured at its full size; files that are only listed, and the cache of the free network,
are holes in the disk. Names on the command line measure only these parts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.data.startup import start_process, write_inputs
from benchmarks.harness.command import BenchmarkSettings, Findings, parse_names, run_entry
from benchmarks.harness.measured_process import Cost, run_measured
from benchmarks.harness.measurements import format_duration, format_significant, markdown_table
from benchmarks.training.full_size_inputs import (
    write_free_experiment,
    write_kaggle_files,
    write_runs,
)
from runtime.command_line import run_command

FULL = 560_000
SIZES = (10_000, 100_000, FULL)
WITH_STRAIN = (1_000, 2_000, 8_000)  # samples that are checked and cached
RUNS = 20
PROCESSES = (1, 2, 4)  # that read strain
Point = dict[str, Any]
Measure = Callable[[BenchmarkSettings, int, Path], Cost]


def in_folder(folder: Path, measure: Callable[[Path], Cost]) -> Cost:
    """Measure in a new folder, and remove it: half a million files are in the way of the next."""
    work = folder / "work"
    work.mkdir()
    try:
        return measure(work)
    finally:
        shutil.rmtree(work)


def index(settings: BenchmarkSettings, n: int, work: Path) -> Cost:
    write_kaggle_files(work / "data", n, 2, strain=False)
    line = ["prep_data.py", "--root_dir", f"{work}/data", "--export_dir", f"{work}/out"]
    return run_measured(line, work)


def reading_strain(option: str, processes: int | None = None) -> Measure:
    """Return what measures prep_data.py with an option by which it reads all strain.

    Args:
        option: --check or --cache.
        processes: that read; None for one on every core.
    """
    readers = [] if processes is None else ["--num_workers", str(processes)]

    def measure(settings: BenchmarkSettings, n: int, work: Path) -> Cost:
        write_kaggle_files(work / "data", n, 2, strain=True)
        line = ["prep_data.py", "--root_dir", f"{work}/data", "--export_dir", f"{work}/out"]
        return run_measured([*line, option, *readers], work)

    return measure


def first_batch(settings: BenchmarkSettings, n: int, work: Path) -> Cost:
    found = start_process(settings, work, 0, write_inputs(work, n)["with"])
    memory = found["memory"]
    return Cost(found["seconds"], None if memory is None else memory["proportional"] / 1e6)


def free_epoch(settings: BenchmarkSettings, n: int, work: Path) -> Cost:
    line = write_free_experiment(work / "free", n)
    return run_measured(["train.py", *line], work)


def stack(settings: BenchmarkSettings, n: int, work: Path) -> Cost:
    results = write_runs(work / "stack", n, 2 * n // 5, settings.choose(RUNS, RUNS, 2))
    resamples = ["--resamples", "20"] if settings.quick else []
    return run_measured(["stacking.py", "--results", str(results), *resamples], work)


def report(settings: BenchmarkSettings, n: int, work: Path) -> Cost:
    results = write_runs(work / "report", n, 2 * n // 5, settings.choose(RUNS, RUNS, 2))
    return run_measured(["report.py", "--results", str(results)], work)


# What is measured, whether its files hold strain, and what it is called in the table.
PARTS: dict[str, tuple[Measure, bool, str]] = {
    "index": (index, False, "index of the files (prep_data.py)"),
    "check": (reading_strain("--check"), True, "check of the files (prep_data.py --check)"),
    **{
        f"check_{n}": (reading_strain("--check", n), True, f"check of the files, {n} readers")
        for n in PROCESSES
    },
    "cache": (reading_strain("--cache"), True, "cache of the files (prep_data.py --cache)"),
    **{
        f"cache_{n}": (reading_strain("--cache", n), True, f"cache of the files, {n} readers")
        for n in PROCESSES
    },
    "first_batch": (first_batch, False, "from the start to the first batch of Nspec16"),
    "free_epoch": (free_epoch, False, "start and epoch of a network that costs nothing (train.py)"),
    "stack": (stack, False, f"a stack of {RUNS} runs (stacking.py)"),
    "report": (report, False, f"the report of {RUNS} runs (report.py)"),
}


def points(settings: BenchmarkSettings, folder: Path, names: Sequence[str]) -> Iterator[Point]:
    """Measure some parts at every number of samples."""
    for name in names:
        measure, holds_strain, what = PARTS[name]
        known = WITH_STRAIN if holds_strain else SIZES
        for n in settings.choose(cpu=known, cuda=known, quick=(40, 80)):
            cost = in_folder(folder, lambda work, m=measure, n=n: m(settings, n, work))
            print(f"{what}, {n}: {format_duration(cost.seconds)}", flush=True)
            yield {
                "part": name,
                "samples": n,
                "seconds": round(cost.seconds, 3),
                "megabytes": None if cost.megabytes is None else round(cost.megabytes, 1),
            }


def extrapolate(found: Sequence[Point], n: int = FULL) -> float:
    """Return the seconds at n samples, on a straight line through the two largest numbers."""
    first, last = sorted(found, key=lambda point: point["samples"])[-2:]
    slope = (last["seconds"] - first["seconds"]) / (last["samples"] - first["samples"])
    return last["seconds"] + slope * (n - last["samples"])


def format_table(found: Sequence[Point]) -> list[str]:
    """Return a row for every part and number of samples."""
    rows = []
    for name, (_, holds_strain, what) in PARTS.items():
        own = [point for point in found if point["part"] == name]
        for point in own:
            memory = point["megabytes"]
            rows.append(
                (
                    what,
                    f"{point['samples']:,}",
                    format_duration(point["seconds"]),
                    format_duration(point["seconds"] / point["samples"]),
                    "-" if memory is None else f"{format_significant(memory)} MB",
                )
            )
        if own and holds_strain:
            seconds = extrapolate(own)
            each = format_duration(seconds / FULL)
            rows.append((what, f"{FULL:,}, extrapolated", format_duration(seconds), each, "-"))
    head = ("what", "samples", "time", "a sample", "memory")
    return markdown_table(head, rows)


def measure_parts(settings: BenchmarkSettings, names: Sequence[str]) -> Findings:
    with tempfile.TemporaryDirectory(prefix="full_size_", dir=settings.folder) as name:
        found = list(points(settings, Path(name), names))
    return Findings(
        details={"From ten thousand samples to the competition's": format_table(found)},
        data={"points": found},
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_names(argv, "-m benchmarks.training.full_size", __doc__, PARTS, "PART", "part")
    return run_entry(
        "full_size",
        args,
        lambda settings: measure_parts(settings, args.names or list(PARTS)),
        default_out=RESULTS,
    )


if __name__ == "__main__":
    run_command(main)
