"""Kill a small run at every moment that its folder could tell from another, and go on.

    python tests/kill_points.py --case Mixup

What a run has in memory is gone with it, so that two kills differ only where something was written
or removed in its folder between them. Here a run is killed at each of these moments: before a
finished file is renamed to its place, with that file cut in half, before a file is removed, and
before a file of an older run is moved aside.
Gone on with, it must end as the run left alone, and leave no temporary file.

Every run is a fork of this process, which has imported all there is to import. `chaos.py` kills
whole command lines instead, at moments of chance.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# A fork has none of its parent's threads, and would wait for them in its first product of matrices.
os.environ["OMP_NUM_THREADS"] = "1"

import chaos

from runtime.command_line import run_command
from runtime.console import progress
from runtime.files import TEMPORARY

# What a run imports on its way, so that a fork need not.
IMPORTED = (
    "experiments.experiment",
    "experiments.dry_run",
    "experiments.summary",
    "train",
    "scipy.special",
    "sklearn.model_selection",
    "matplotlib.pyplot",
    "torch.utils.tensorboard",
)
# What changes a folder, as Python's audit hooks call it and as moments are named after it.
EVENTS = {"os.rename": "before", "os.remove": "removing", "moving": "moving"}


@dataclass(frozen=True)
class Moment:
    """The n-th time that `event` happens to the file of this name, in halves or whole."""

    event: str
    name: str
    occurrence: int
    half: bool = False

    def __str__(self) -> str:
        what = "half of" if self.half else EVENTS[self.event]
        return f"{what} {self.name} {self.occurrence}"


class Watch:
    """Notes what happens in a folder; kills this process at a moment of its own."""

    def __init__(self, folder: Path, at: Moment | None, noted: int | None) -> None:
        self.folder, self.at, self.noted = str(folder.resolve()), at, noted
        self.counts: dict[tuple[str, str], int] = {}
        sys.addaudithook(self.look)

    def is_here(self, path: str | os.PathLike[str]) -> bool:
        return os.path.dirname(os.path.realpath(os.fspath(path))) == self.folder

    def look(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS:
            return
        path = os.fspath(arguments[1 if event == "os.rename" else 0])
        if event == "os.rename" and self.is_here(arguments[0]) and not self.is_here(path):
            event, path = "moving", os.fspath(arguments[0])
        name = os.path.basename(path)
        if not self.is_here(path) or re.search(TEMPORARY, name):
            return
        if event == "os.remove" and not os.path.exists(path):
            return
        count = self.counts[event, name] = self.counts.get((event, name), 0) + 1
        if self.noted is not None:
            os.write(self.noted, f"{event} {name} {count}\n".encode())
        at = self.at
        if at is not None and (event, name, count) == (at.event, at.name, at.occurrence):
            if at.half:
                os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
            os.kill(os.getpid(), signal.SIGKILL)


def fork(work: Callable[[], object]) -> int:
    """Do some work in a forked process; return its exit code, -9 where it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class Trials:
    """Runs of one case into folders below `work`, each killed at a moment and gone on with."""

    def __init__(self, case: str, work: Path) -> None:
        from small_run import make_data

        self.case, self.work, self.name = case, work, case.lower()
        self.data = make_data(work / "input")
        self.alone = work / "alone"

    def run(self, results: Path, *extra: str, at: Moment | None = None, noted=None) -> int:
        def work() -> None:
            (results / self.name).mkdir(parents=True, exist_ok=True)
            Watch(results / self.name, at, noted)
            from train import main

            main(chaos.arguments(self.case, self.data, results, "0", *extra))

        return fork(work)

    def moments(self) -> list[Moment]:
        """Let a run end, and another that moves it aside; return what happened in the folder."""
        found = []
        for extra in ((), ("--overwrite",)):
            reading, writing = os.pipe()
            os.set_inheritable(writing, True)
            if self.run(self.alone, *extra, noted=writing):
                raise RuntimeError(f"{self.case} fails when it is left alone")
            os.close(writing)
            with open(reading) as file:
                lines = [line.split() for line in file]
            found.append([Moment(event, name, int(count)) for event, name, count in lines])
        first, again = found
        written = [moment for moment in first if moment.event == "os.rename"]
        halves = [Moment(m.event, m.name, m.occurrence, half=True) for m in written]
        pairs = [m for pair in zip(written, halves, strict=True) for m in pair]
        removed = [moment for moment in first if moment.event == "os.remove"]
        return [*pairs, *removed, *(moment for moment in again if moment.event != "os.rename")]

    def differences(self, number: int, moment: Moment) -> list[str]:
        """Kill a run at a moment, go on; return what is not as it is in the run left alone."""
        results = self.work / f"killed{number}"
        extra: tuple[str, ...] = ()
        if moment.event != "os.rename":  # a run begun anew where another has ended
            shutil.copytree(self.alone / self.name, results / self.name)
            extra = ("--overwrite",)
        ended = self.run(results, *extra, at=moment)
        if ended != -signal.SIGKILL:
            return [f"{moment}: it ended with {ended} instead of being killed"]
        ended = self.run(results, "--resume")
        if ended:
            return [f"{moment}: it went on and ended with {ended}"]
        found = chaos.differences(self.alone / self.name, results / self.name)
        return [f"{moment}: {what}" for what in found]


def prepare(case: str) -> None:
    """Import, and have whitened once, what every run would have to by itself."""
    for module in IMPORTED:
        importlib.import_module(module)
    import torch

    from experiments.building import build_preparation

    config = chaos.define_cases()[case]
    strain = {"waveform": torch.zeros(1, 3, 4096)}
    build_preparation(config, "test", torch.device("cpu"))(strain)


def kill(case: str, only: Sequence[str], work: Path) -> tuple[int, list[str]]:
    """Kill at every moment, or at those named; return how many, and what was different."""
    prepare(case)
    trials = Trials(case, work)
    moments = trials.moments()
    if only:
        there = {str(moment): moment for moment in moments}
        moments = [there[name] for name in only]
    lines = []
    for number, moment in enumerate(progress(moments, desc=f"kills of {case}", unit="kill")):
        lines += trials.differences(number, moment)
    return len(moments), lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default="Mixup", help="an experiment of chaos.py (%(default)s)")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="MOMENT", help="e.g. 'half of predictions.npy 1'"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tried, lines = kill(options.case, options.only, Path(folder))
    bad = len({line.split(":")[0] for line in lines})
    print("\n".join([*lines, f"{options.case}: {tried - bad} of {tried} moments identical"]))
    return 1 if lines else 0


if __name__ == "__main__":
    run_command(main)
