"""Run all benchmarks, each in a process of its own: `python -m benchmarks`.

The figures go into benchmarks/results/<device>.json and .md, those of each benchmark as soon as it
is done. Names on the command line run only these; the figures of the others stay.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import BENCHMARKS, MODULES, RESULTS, ROOT
from benchmarks.harness.command import parse_names
from benchmarks.harness.machine import describe_device, find_device
from runtime.command_line import run_command
from runtime.console import format_seconds
from runtime.errors import UserError


def passed_on(args: argparse.Namespace, out: Path) -> list[str]:
    """Return the arguments that are passed on to every benchmark."""
    given = ["--device", str(args.device), "--folder", str(args.folder), "--out", str(out)]
    given += ["--quick"] if args.quick else []
    for name in ("repeats", "threads"):
        if getattr(args, name) is not None:
            given += [f"--{name}", str(getattr(args, name))]
    return given


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_names(argv, "-m benchmarks", __doc__, BENCHMARKS, "NAME", "benchmark")
    args.device = find_device(args.device)
    out = args.out or (Path(tempfile.mkdtemp(prefix="benchmarks_")) if args.quick else RESULTS)
    failed = []
    for name in args.names or BENCHMARKS:
        started = time.monotonic()
        print(f"--- {name}", flush=True)
        # A process each: no benchmark inherits another's memory, threads or chosen kernels.
        line = [sys.executable, "-m", MODULES[name], *passed_on(args, out.resolve())]
        code = subprocess.run(line, cwd=ROOT).returncode
        if code:
            failed.append(name)
        if code < 0:  # it could not say so itself
            print(f"{name} was ended by {signal.Signals(-code).name}", file=sys.stderr)
        print(f"--- {name}: {format_seconds(time.monotonic() - started)}\n", flush=True)
    path = out / f"{describe_device(args.device)['slug']}.md"
    print(f"{len(args.names or BENCHMARKS) - len(failed)} benchmarks are recorded in {path}")
    if failed:
        raise UserError(f"{', '.join(failed)} failed, as said above: their old figures stay")
    return 0


if __name__ == "__main__":
    run_command(main)
