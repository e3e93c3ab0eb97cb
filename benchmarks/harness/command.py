"""The command line that all benchmarks share, and what runs around each of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import MODULES, RESULTS
from benchmarks.harness.machine import (
    Neighbours,
    describe_device,
    find_device,
    run_conditions,
    torch_threads,
    warn_if_busy,
)
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.result_files import (
    FORMAT,
    check_recorded_names,
    format_measurements,
    record_entry,
)
from runtime.command_line import CommandLine
from runtime.errors import UserError, nearest


@dataclass(frozen=True)
class BenchmarkSettings:
    """The settings of a benchmark, from its command line.

    Attributes:
        quick: tiny sizes and few repeats, to see that a benchmark works.
        repeats: rounds of timings; None leaves them to the benchmark.
        folder: where temporary caches and files are written.
    """

    device: torch.device
    quick: bool = False
    repeats: int | None = None
    folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def least_seconds(self) -> float:
        """The shortest duration of one timing; shorter calls are repeated within it."""
        return 0.0 if self.quick else 0.1

    def rounds(self, usual: int) -> int:
        """Return how often each side is timed: as asked for, else twice if quick, else `usual`."""
        return self.repeats or (2 if self.quick else usual)

    def choose(self, cpu: Any, cuda: Any, quick: Any) -> Any:
        """Return the value for this kind of run."""
        return quick if self.quick else cuda if self.on_gpu else cpu


@dataclass(frozen=True)
class Findings:
    """What a benchmark found: rows of the table, and further parts of the files.

    Attributes:
        rows: the measurements.
        details: Markdown lines by title.
        data: anything more for the JSON file.
    """

    rows: Sequence[Measurement] = ()
    details: dict[str, list[str]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every benchmark and `python -m benchmarks` take."""
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, few repeats: to see that it works"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="timings of each side")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own)")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()),
        help="where temporary caches and files go (default: the system's)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="put the figures into DIR/<device>.json and .md"
    )


def parse_names(
    argv: Sequence[str] | None,
    prog: str,
    description: str | None,
    known: Iterable[str],
    metavar: str,
    what: str,
) -> argparse.Namespace:
    """Return the arguments of a command that takes names beside those of every benchmark.

    Args:
        argv: the command line; None for that of the process.
        prog, description: of the command.
        known: names that there are.
        metavar: of a name.
        what: there is not, where a name is not known, e.g. 'part'.

    Raises:
        UserError: a name is not known, or as in `check_arguments`.
    """
    known = list(known)
    parser = CommandLine(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar=metavar, help=f"of {', '.join(known)}")
    add_arguments(parser)
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in known:
            raise UserError(f"there is no {what} {name!r}{nearest(name, known)}")
    check_arguments(args)
    return args


def check_arguments(args: argparse.Namespace) -> None:
    """Check the values of arguments.

    Raises:
        UserError: a number below one, a folder that is not there, or rough figures for the record.
    """
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: expected 1 or more")
    # Checked before anything is measured: some benchmarks run for an hour.
    if not args.folder.is_dir():
        raise UserError(f"--folder {args.folder} is not a folder: make it, or name another")
    if args.quick and args.out is not None and args.out.resolve() == RESULTS:
        raise UserError(
            f"--quick figures are too rough to stand in {RESULTS}: name another folder with --out"
        )


def run_benchmark(
    name: str,
    description: str | None,
    measure: Callable[[BenchmarkSettings], Findings],
    argv: Sequence[str] | None = None,
    default_out: Path | None = None,
    after: Callable[[Path], None] | None = None,
) -> int:
    """Run one benchmark from its command line: measure, print its table, record it.

    Args:
        name: of its entry in the files.
        description: the module's docstring, as the help.
        measure: the benchmark.
        argv: the arguments; None takes those of the process.
        default_out: the folder of the files without `--out`; `--quick` then writes none.
        after: called with the JSON file once it is written.
    """
    parser = CommandLine(
        prog=f"-m {MODULES[name]}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    check_arguments(args)
    return run_entry(name, args, measure, default_out, after)


def run_entry(
    name: str,
    args: argparse.Namespace,
    measure: Callable[[BenchmarkSettings], Findings],
    default_out: Path | None = None,
    after: Callable[[Path], None] | None = None,
) -> int:
    """Measure what a command line asks for, print its table and record it; see `run_benchmark`.

    Raises:
        UserError: the record holds names that were not asked for, and would lose them.
    """
    device = find_device(args.device)
    names = sorted(set(getattr(args, "names", ())))  # none: all that there are
    # Quick figures, and those of some names, are only kept where that is asked for.
    out = args.out or (None if args.quick or names else default_out)
    if out is not None:
        check_recorded_names(out, device, name, names)
    with torch_threads(args.threads):
        entry = measure_entry(
            measure, BenchmarkSettings(device, args.quick, args.repeats, args.folder)
        )
    results = {"format": FORMAT, "device": describe_device(device), "benchmarks": {name: entry}}
    lines = format_measurements(results) if entry["rows"] else []
    for title, detail in entry["details"].items():
        lines += ["", f"{title}:", "", *detail]
    print("\n".join(lines))
    if out is not None:
        if names:
            entry["names"] = names
        path = record_entry(out, device, name, entry)
        print(f"\nrecorded in {path.with_suffix('.md')}")
        if after is not None:
            after(path)
    return 0


def measure_entry(
    measure: Callable[[BenchmarkSettings], Findings], settings: BenchmarkSettings
) -> dict[str, Any]:
    """Run a benchmark and return its entry of the files."""
    warn_if_busy()
    found = run_conditions(settings.device)
    with Neighbours() as neighbours:
        report = measure(settings)
    if neighbours.disturbed:
        print("warning: others used this machine meanwhile: measure again", file=sys.stderr)
    return {
        "quick": settings.quick,
        **found,
        "load": neighbours.to_plain(),
        "rows": [row.to_plain() for row in report.rows],
        "details": report.details,
        **report.data,
    }
