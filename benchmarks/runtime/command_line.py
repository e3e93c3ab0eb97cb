"""How long do `train.py --help` and `--list` take, compared with importing torch?

Each is a fresh process, from its start to its end, with the modules compiled and in memory.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from benchmarks import ROOT
from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, interleave, paired_ratios
from runtime.command_line import run_command
from runtime.errors import UserError

IMPORT = "python -c 'import torch'"
LINES = {
    "import": ("-c", "import torch"),
    "help": (str(ROOT / "train.py"), "--help"),
    "list": (str(ROOT / "train.py"), "--list"),
}
REASONS: dict[str, str] = {}  # by key of the row


def process_starter(arguments: Sequence[str]) -> Callable[[], None]:
    """Return a function that runs Python with these arguments and waits for its end."""

    def start() -> None:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, cwd=ROOT)
        if done.returncode:
            raise UserError(
                f"{' '.join(arguments)} ended with code {done.returncode}: "
                f"{done.stderr.decode(errors='replace')[-300:]}"
            )

    return start


def measure(settings: BenchmarkSettings) -> Findings:
    rounds = settings.repeats or settings.choose(cpu=11, cuda=11, quick=1)
    sides = {name: process_starter(arguments) for name, arguments in LINES.items()}
    # A process is no shorter for being started several times in a row.
    times = interleave(sides, settings.device, rounds, least_seconds=0, warm_up=1)
    common = {"settings": {"starts": rounds}, "extra": {"rounds": rounds}}
    theirs = Spread.of(times["import"])
    rows = [
        Measurement(
            "command_line.help",
            "python train.py --help",
            IMPORT,
            Spread.of(times["help"]),
            "s",
            False,
            {"cpu": 0.3, "cuda": 0.3},
            Spread.of(times["help"]),
            theirs,
            reason=REASONS.get("command_line.help"),
            **common,
        ),
        Measurement(
            "command_line.list",
            "python train.py --list",
            IMPORT,
            paired_ratios(times["list"], times["import"]),
            "×",
            False,
            {"cpu": 1.5, "cuda": 1.5},
            Spread.of(times["list"]),
            theirs,
            reason=REASONS.get("command_line.list"),
            **common,
        ),
    ]
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("command_line", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
