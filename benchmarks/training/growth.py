"""How does the cost of the front-end and of training grow with scales, stride, batch and readers?

Each point is a process of its own, which gives its peak memory beside its time. The curves go into
benchmarks/results/<device>.json and .md, and their plots into docs/figures/performance-*.png.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import FIGURES, RESULTS, ROOT
from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import format_duration, format_significant, markdown_table
from runtime.command_line import run_command
from runtime.console import progress
from runtime.errors import UserError

Point = dict[str, Any]

# What is varied, and the values: on a CPU, on a GPU, in quick mode.
CWT = {
    "scales": ((32, 64, 128, 256, 512), (32, 64, 128, 256, 512), (4,)),
    "stride": ((1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32), (16,)),
    "batch": ((1, 4, 16, 64), (1, 4, 16, 64, 256), (1,)),
}
CWT_BASE = {"scales": (128, 128, 4), "stride": (4, 4, 16), "batch": (16, 64, 1)}
TRAINING = {
    "Nspec16": {
        "batch": ((1, 2, 4, 8, 16), (8, 16, 32, 64, 128), ()),
        "workers": ((0, 1, 2), (0, 1, 2, 4, 8), (1,)),
    },
    "Demo": {
        "batch": ((16, 32, 64, 128, 256), (16, 64, 256, 1024), ()),
        "workers": ((0, 1, 2), (0, 1, 2, 4, 8), ()),
    },
}
TRAINING_BASE = {
    "Nspec16": {"batch": (8, 64, 2), "workers": (0, 4, 0)},
    "Demo": {"batch": (64, 64, 2), "workers": (0, 4, 0)},
}


def growth_points(settings: BenchmarkSettings) -> Iterator[Point]:
    """Yield every point with all its arguments; a base point belongs to several curves."""
    for learnt in (False, True):
        for varied, values in CWT.items():
            for value in settings.choose(*values):
                base = {key: settings.choose(*each) for key, each in CWT_BASE.items()}
                yield {
                    "what": "cwt",
                    "curve": "width learnt, both passes" if learnt else "forward",
                    "varied": varied,
                    "width_learnt": learnt,
                    **base,
                    varied: value,
                }
    for config, curves in TRAINING.items():
        for varied, values in curves.items():
            for value in settings.choose(*values):
                base = {k: settings.choose(*each) for k, each in TRAINING_BASE[config].items()}
                yield {
                    "what": "training",
                    "curve": config,
                    "varied": varied,
                    "config": config,
                    **base,
                    varied: value,
                }


def measure_point(settings: BenchmarkSettings, point: Point) -> Point | None:
    """Measure a point in a process of its own; return None if memory was too small."""
    line = [
        sys.executable,
        "-m",
        "benchmarks.training.growth_point",
        json.dumps(point),
        "--device",
        str(settings.device),
        "--folder",
        str(settings.folder),
        "--threads",
        str(torch.get_num_threads()),
    ]
    line += ["--quick"] if settings.quick else []
    line += ["--repeats", str(settings.repeats)] if settings.repeats else []
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    # The kernel kills a process that fills the memory; torch raises where it is a GPU's.
    if done.returncode == -signal.SIGKILL or "out of memory" in done.stderr.lower():
        print(f"left out, as the memory is too small: {point}", file=sys.stderr)
        return None
    if done.returncode:
        raise UserError(f"the point {point} failed: {done.stderr[-300:]}")
    return point | json.loads(done.stdout.splitlines()[-1])


def measure(settings: BenchmarkSettings) -> Findings:
    known: dict[str, Point | None] = {}
    found = []
    every = list(growth_points(settings))
    for point in progress(every, desc="growth", unit="point"):
        # Base points are the same in several curves, and are measured once.
        key = json.dumps({k: v for k, v in point.items() if k != "varied"}, sort_keys=True)
        if key not in known:
            known[key] = measure_point(settings, point)
        if known[key] is not None:
            found.append({**known[key], "varied": point["varied"]})
    return Findings(details=format_growth_tables(found), data={"points": found})


# --- tables ----------------------------------------------------------------------------------


def format_growth_tables(found: Sequence[Point]) -> dict[str, list[str]]:
    """Return a table of the front-end's points and one of the trainings'."""
    cwt = [
        (
            point["varied"],
            point["curve"],
            str(point["scales"]),
            str(point["stride"]),
            str(point["batch"]),
            format_duration(point["seconds"]["median"]),
            format_duration(point["seconds"]["median"] / point["batch"]),
            f"{format_significant(point['peak_megabytes'])} MB",
        )
        for point in found
        if point["what"] == "cwt"
    ]
    training = [
        (
            point["varied"],
            point["config"],
            str(point["batch"]),
            str(point["workers"]),
            format_significant(point["samples_per_second"]["median"]),
            format_duration(point["data_seconds"]["median"]),
            format_megabytes(point),
        )
        for point in found
        if point["what"] == "training"
    ]
    head = ("varied", "what", "scales", "stride", "batch", "time", "a sample", "memory on top")
    other = ("varied", "config", "batch", "readers", "samples/s", "waiting for data", "memory")
    return {
        "The wavelet front-end of Nspec16": markdown_table(head, cwt),
        "Training": markdown_table(other, training),
    }


def format_megabytes(point: Point) -> str:
    readers = point.get("readers_megabytes", 0)
    return f"{point['peak_megabytes']:.0f} MB" + (f" + {readers:.0f} MB" if readers else "")


# --- the command -----------------------------------------------------------------------------


def draw_recorded_curves(path: Path) -> None:
    """Draw a result file's curves: the recorded ones into docs/figures/, others beside the file."""
    from benchmarks.harness.result_files import load_results
    from benchmarks.training.growth_plots import draw_growth

    folder = FIGURES if path.parent.resolve() == RESULTS else path.parent
    for drawn in draw_growth(load_results(path), folder):
        print(f"drawn in {drawn}")


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark(
        "growth", __doc__, measure, argv, default_out=RESULTS, after=draw_recorded_curves
    )


if __name__ == "__main__":
    run_command(main)
