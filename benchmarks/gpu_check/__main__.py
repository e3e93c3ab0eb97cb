"""Check a GPU within nine minutes: `python -m benchmarks.gpu_check`, or `make gpu-check`.

Steps run one after another, smallest first, each in a process of its own: tests of every part
against the CPU, tests of training, benchmarks, and two trainings against the ruler. After every
step OUT/gpu_check.json and OUT/gpu_check.md are written anew, so that a check that is cut short
leaves what it has found. A step that fails is recorded, and the next one begins.

It needs no network. --device cpu --rehearse goes the same way in small, to see that it works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ROOT
from benchmarks.gpu_check.processes import stopped_with_its_children
from benchmarks.gpu_check.record import CheckRecord, StepRecord
from benchmarks.gpu_check.steps import STEPS, CheckSettings, Step
from benchmarks.harness.machine import describe_device, find_device, run_conditions
from runtime.command_line import CommandLine, run_command
from runtime.errors import UserError
from runtime.files import move_aside

MINUTES = 8.5  # of all steps; the rest of nine is for starting and writing
RESERVE = 2.0  # s, to write what a step found
PATIENCE = 10  # times as long a step may take in a rehearsal, which a busy machine must not end


def run_steps(steps: Sequence[Step], settings: CheckSettings, record: CheckRecord) -> None:
    """Run the steps in the time that is left, and write the record after each."""
    record.steps = [StepRecord(step.name, step.question) for step in steps]
    record.write()
    for step, found in zip(steps, record.steps, strict=True):
        most = step.most * (PATIENCE if settings.rehearse else 1)
        seconds = min(most, record.seconds_left - RESERVE)
        print(
            f"--- {step.name}, for at most {max(seconds, 0):.0f} s; "
            f"{record.seconds_left:.0f} s are left of all",
            flush=True,
        )
        started = time.monotonic()
        if seconds < step.least:
            found.outcome, found.reason = "skipped", "no time was left"
        else:
            try:
                step.run(settings, seconds, found)
            # Whatever it is, the steps after it are worth having.
            except Exception as error:
                found.outcome = "failed"
                found.reason = f"{type(error).__name__}: {error}"
        found.seconds = round(time.monotonic() - started, 1)
        record.write()
        why = f": {found.reason}" if found.reason else ""
        print(f"    {found.outcome} after {found.seconds:.0f} s{why}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(
        prog="-m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: results/gpu_check")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        metavar="M",
        help=f"of all steps together (default: {MINUTES})",
    )
    parser.add_argument(
        "--steps", nargs="+", metavar="NAME", help=f"of {', '.join(step.name for step in STEPS)}"
    )
    parser.add_argument("--rehearse", action="store_true", help="in small, to see that it works")
    args = parser.parse_args(argv)
    names = [step.name for step in STEPS]
    unknown = [name for name in args.steps or () if name not in names]
    if unknown:
        raise UserError(f"--steps {unknown[0]}: expected some of {', '.join(names)}")
    if not args.minutes > 0:
        raise UserError(f"--minutes {args.minutes:g}: expected a number above 0")
    device = find_device(args.device)
    if device.type == "cpu" and not args.rehearse:
        raise UserError(
            "there is no GPU to check here: rehearse on the CPU with --device cpu --rehearse"
        )
    folder = (args.out or ROOT / "results" / "gpu_check").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = CheckRecord(
        folder, describe_device(device), run_conditions(device), 60 * args.minutes, args.rehearse
    )
    for path in (record.json_path, record.markdown_path):
        if path.exists():
            print(f"{path} is of an earlier check, and is now {move_aside(path).name}")
    for part in ("ruler", "benchmarks"):  # figures of an earlier check would be taken for new ones
        if (folder / part).exists():
            print(f"{folder / part} is of an earlier check, and is now {move_aside(folder / part)}")
    steps = [step for step in STEPS if args.steps is None or step.name in args.steps]
    with stopped_with_its_children():
        run_steps(steps, CheckSettings(device, folder, args.rehearse), record)
    print(f"recorded in {record.markdown_path} after {record.seconds:.0f} s")
    return 1 if record.has_failed else 0


if __name__ == "__main__":
    run_command(main)
