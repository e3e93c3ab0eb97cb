"""How long does a training take from its command to the end of its first step?

Fresh processes of `train.py`, in turn with `python -c 'import torch, timm'`, which no training on
images can do without: what stands beside it is the time that is added to these imports. A table
has as many samples as the competition's training set; the cache has a true header and ids, and
rows that are a hole in the file. The files of all samples are one and the same.

What is computed once for each user, whitening matrices, band-passes and corrections, lies on disk
in a warm start; a cold one begins with an empty folder of kept files. Wave01 has no cold start
here: it would compute its bank of 8,000 waveforms, some minutes.

On a CPU the batches have two samples: with those of the config the first step would be most of
what is measured. The second step of the same process says what a step takes. The processor's
seconds are counted as well: beside other jobs they change less than those of a clock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT
from benchmarks.data.startup import write_inputs
from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement, format_duration
from benchmarks.harness.timed_steps import TINY
from benchmarks.harness.timing import Spread, paired_differences
from runtime.command_line import run_command
from runtime.errors import UserError

IMPORTS = "import torch, timm"
SAMPLES = 560_000  # of the competition's training set
SECONDS = 1.5  # more than the imports
# By (key of the row, kind of device): a profile of a start on two cores of an AMD EPYC.
OF_ALL = (
    "in a profile pandas takes 0.4 s, tables of 560,000 samples 0.6 s, the data sets 0.3 s, and "
    "our own modules and the config 0.3 s"
)
OF_IMAGES = f"{OF_ALL}; the network 0.3 s, and its first step, of two samples, some 0.5 s"
REASONS = {
    ("first_step.nspec16.files.warm", "cpu"): OF_IMAGES,
    ("first_step.nspec16.cache.warm", "cpu"): OF_IMAGES,
    ("first_step.demo.cache.warm", "cpu"): f"{OF_ALL}; the network and its first step 0.1 s",
    ("first_step.wave01.none.warm", "cpu"): f"{OF_ALL}; the bank of 8,000 waveforms is read and "
    "transformed, 1.1 s, and all that decides the correction at a window's edges is hashed, 0.3 s",
}


@dataclass(frozen=True)
class Start:
    """A way to start a training.

    Attributes:
        config: name of the experiment.
        data: 'cache' or 'files', of which the samples are read; 'none' draws them.
        is_cold: with an empty folder of kept files.
    """

    config: str
    data: str
    is_cold: bool = False

    @property
    def key(self) -> str:
        kind = "cold" if self.is_cold else "warm"
        return f"first_step.{self.config.lower()}.{self.data}.{kind}"

    @property
    def what(self) -> str:
        samples = {"cache": "from the cache", "files": "from files", "none": "simulated"}
        kept = ", nothing kept yet" if self.is_cold else ""
        return f"{self.config} {samples[self.data]}, from the command to its first step's end{kept}"


STARTS = (
    Start("Nspec16", "files"),
    Start("Nspec16", "cache"),
    Start("Nspec16", "cache", is_cold=True),
    Start("Demo", "cache"),
    Start("Demo", "cache", is_cold=True),
    Start("Wave01", "none"),
)
QUICK = (Start("Demo", "cache"),)


def run_process(line: Sequence[str], kept: Path | None = None) -> str:
    """Run Python with these arguments; return what it prints.

    Args:
        kept: the folder of kept files; None leaves it as it is.

    Raises:
        UserError: it failed.
    """
    environment = os.environ if kept is None else {**os.environ, "G2NET_CACHE": str(kept)}
    done = subprocess.run(
        [sys.executable, *line], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    if done.returncode:
        raise UserError(f"a start failed ({' '.join(line[:6])} ...): {done.stderr[-300:]}")
    return done.stdout.splitlines()[-1]  # torch may print warnings before it


def time_imports(imports: str) -> tuple[float, float]:
    """Return the seconds until a process has imported some modules, and its processor's."""
    started = time.monotonic()  # the same clock in all processes of a machine
    program = f"{imports}, time; print(time.monotonic(), time.process_time())"
    ended, used = map(float, run_process(["-c", program]).split())
    return ended - started, used


def time_start(line: Sequence[str], kept: Path | None) -> tuple[float, float, float]:
    """Return the seconds from the command to the end of its first step, and its processor's.

    The third is what the second step takes.
    """
    started = time.monotonic()
    module = ["-m", "benchmarks.training.timed_command", "--steps", "2", "--"]
    (first, used), (second, _) = json.loads(run_process([*module, *line], kept))["ended"]
    return first - started, used, second - first


def command_line(
    settings: BenchmarkSettings, start: Start, folder: Path, inputs: dict[str, list[str]]
) -> list[str]:
    """Return the arguments of `train.py`."""
    batch = settings.choose(cpu=2, cuda=64, quick=2)
    changes = [*inputs["without" if start.data == "files" else "with"], f"batch_size={batch}"]
    changes += ["test_cache=none"]  # of no sample that is trained on
    if settings.quick:
        changes += TINY[start.config]
    device = ["--gpu", str(settings.device.index)] if settings.on_gpu else []
    return [
        *("--config", start.config, "--no_pretrained", "--silent", "--overwrite"),
        *("--limit_fold", "0", "--results", str(folder / "results"), *device),
        *("--set", *changes),
    ]


def measure_start(
    settings: BenchmarkSettings,
    start: Start,
    folder: Path,
    inputs: dict[str, list[str]],
    rounds: int,
) -> Measurement:
    line = command_line(settings, start, folder, inputs)
    kept, empty = folder / "kept", folder / "empty"
    if start.data == "none" or settings.quick:
        kept = None  # the user's own: a bank takes minutes
    ours, theirs, steps, used = [], [], [], []
    # The first round brings modules into memory and, in warm starts, computes what is kept.
    untimed = 0 if settings.quick else 1
    for number in range(untimed + rounds):
        if start.is_cold:
            shutil.rmtree(empty, ignore_errors=True)
        seconds, processor, step = time_start(line, empty if start.is_cold else kept)
        imports, processor_of_imports = time_imports("import torch" if settings.quick else IMPORTS)
        if number >= untimed:
            ours.append(seconds)
            steps.append(step)
            theirs.append(imports)
            used.append(processor - processor_of_imports)
    return Measurement(
        start.key,
        start.what,
        f"python -c '{IMPORTS}'",
        paired_differences(ours, theirs),
        "s more",
        False,
        {} if start.is_cold else {"cpu": SECONDS, "cuda": SECONDS},
        Spread.of(ours),
        Spread.of(theirs),
        settings={
            "starts": rounds,
            "processor seconds more": f"{Spread.of(used).median:.1f}",
            "a later step": format_duration(Spread.of(steps).median),
        },
        reason=REASONS.get((start.key, settings.device.type)),
        extra={
            "rounds": rounds,
            "step_seconds": Spread.of(steps),
            "processor_seconds_more": Spread.of(used),
        },
    )


def measure(settings: BenchmarkSettings) -> Findings:
    rounds = settings.repeats or settings.choose(cpu=5, cuda=5, quick=1)
    n = settings.choose(cpu=SAMPLES, cuda=SAMPLES, quick=500)
    starts = settings.choose(cpu=STARTS, cuda=STARTS, quick=QUICK)
    with tempfile.TemporaryDirectory(prefix="first_step_", dir=settings.folder) as name:
        folder = Path(name)
        inputs = write_inputs(folder, n)
        return Findings(
            [measure_start(settings, start, folder, inputs, rounds) for start in starts]
        )


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("first_step", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
