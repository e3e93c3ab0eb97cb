"""The steps of a check, smallest first."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu_check.processes import Ended, run_process
from benchmarks.gpu_check.record import StepRecord
from benchmarks.gpu_check.ruler import describe_curve, read_curve
from benchmarks.harness.result_files import format_measurements

# As pytest prints it: tests/test_gpu_parts.py::test_losses[RankLoss] PASSED [ 12%]
TEST_LINE = re.compile(r"^(tests/\S+::\S.*?) (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)
# Smallest first: those whose time is over are cut. The last two have targets for a GPU as well, and
# time only on a fast one. The rest of `python -m benchmarks` takes longer than this step has, or
# times the host: files, imports, starts and commands.
TIMED = (
    "cwt_width",
    "cwt",
    "cqt",
    "preparation",
    "mixed_precision",
    "training_step",
    "simulating",
    "tta",
)
REHEARSED = ("cwt_width",)
# As `runtime.optional_packages.require` says it.
MISSING_PACKAGE = re.compile(r"the package '\w+' is needed here and not installed")
NO_BANK = "install the extra sim, or bring the waveforms in the folder that G2NET_CACHE names"


@dataclass(frozen=True)
class CheckSettings:
    """What a check runs on.

    Attributes:
        device: to be checked.
        folder: where steps put their files.
        rehearse: everything small.
    """

    device: torch.device
    folder: Path
    rehearse: bool


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: of the step.
        question: what it answers.
        most: s that it may take, whatever is left.
        run: (settings, seconds, record) does it and fills in the record.
        least: s without which it is not begun.
    """

    name: str
    question: str
    most: float
    run: Callable[[CheckSettings, float, StepRecord], None]
    least: float = 10.0


def test_environment(settings: CheckSettings) -> dict[str, str]:
    # cuBLAS reads the second when it starts; deterministic algorithms need it.
    return {"G2NET_TEST_DEVICE": str(settings.device), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def make_test_step(file: str, chosen: str = "") -> Callable:
    """Return a step that runs the tests marked `gpu` of a file.

    Args:
        file: of the tests.
        chosen: the tests of a rehearsal, as `pytest -k` takes them; all where it is empty.
    """

    def run(settings: CheckSettings, seconds: float, record: StepRecord) -> None:
        if importlib.util.find_spec("pytest") is None:
            record.outcome, record.reason = "skipped", "needs pytest: install the extra dev"
            return
        choice = ["-k", chosen] if settings.rehearse and chosen else []
        line = [sys.executable, "-m", "pytest", "-vv", "-m", "gpu", "-p", "no:cacheprovider"]
        line += ["--tb=short", f"--basetemp={settings.folder / 'pytest'}", *choice, file]
        ended = run_process(line, seconds, test_environment(settings))
        fill_in_tests(record, ended)

    return run


def fill_in_tests(record: StepRecord, ended: Ended) -> None:
    """Count what tests gave, those of a run that was cut short too."""
    found = TEST_LINE.findall(ended.output)
    by_outcome = {
        outcome: [name for name, given in found if given == outcome]
        for outcome in ("PASSED", "FAILED", "ERROR", "SKIPPED")
    }
    bad = by_outcome["FAILED"] + by_outcome["ERROR"]
    record.figures = {
        "passed": len(by_outcome["PASSED"]),
        "failed": bad,
        "skipped": len(by_outcome["SKIPPED"]),
    }
    record.lines = [
        f"{len(by_outcome['PASSED'])} passed, {len(bad)} failed, "
        f"{len(by_outcome['SKIPPED'])} skipped."
    ]
    # What each failure said, as pytest sums it up: "FAILED tests/...::test - message"
    summary = re.findall(r"^(?:FAILED|ERROR) (tests/\S+::.+)$", ended.output, re.MULTILINE)
    if summary or bad:
        record.lines += ["", *(f"- `{line[:300]}`" for line in summary or bad)]
    if ended.cut:
        record.outcome, record.reason = "cut short", "its time was over"
    elif bad:
        record.outcome, record.reason = "failed", f"{len(bad)} tests, the first {bad[0]}"
    elif ended.code or not by_outcome["PASSED"]:
        record.outcome, record.reason = "failed", ended.last_line
    else:
        record.outcome = "passed"


def time_parts(settings: CheckSettings, seconds: float, record: StepRecord) -> None:
    """Run benchmarks one by one, and keep the figures of those that were done in time."""
    out = settings.folder / "benchmarks"
    names = REHEARSED if settings.rehearse else TIMED
    done, problems, left = [], [], seconds
    outcomes = {"passed"}
    for name in names:
        if left < 5 and done:
            problems.append(f"no time was left for {name}")
            outcomes.add("cut short")
            continue
        line = [sys.executable, "-m", "benchmarks", name, "--device", str(settings.device)]
        line += ["--out", str(out), "--folder", str(settings.folder)]
        line += ["--quick"] if settings.rehearse else []
        ended = run_process(line, left, {})
        left -= ended.seconds
        if ended.cut:
            problems.append(f"{name}: its time was over")
            outcomes.add("cut short")
        elif why := why_skipped(ended):
            problems.append(f"{name}: {why}")  # no failure, as of a step that is skipped
        elif ended.code:
            problems.append(f"{name}: {ended.last_line}")
            outcomes.add("failed")
        else:
            done.append(name)
        fill_in_benchmarks(record, out)
    record.figures["done"] = done
    record.reason = "; ".join(problems)
    # A failure is a failure, whether or not others were cut short.
    record.outcome = next(each for each in ("failed", "cut short", "passed") if each in outcomes)


def why_skipped(ended: Ended) -> str | None:
    """Return that a package is missing that not everybody needs; None where none is."""
    found = MISSING_PACKAGE.search(ended.output) if ended.code else None
    return f"{found[0]}: {NO_BANK}" if found else None


def fill_in_benchmarks(record: StepRecord, out: Path) -> None:
    """Read what benchmarks have recorded so far."""
    files = list(out.glob("*.json"))
    if files:
        results = json.loads(files[0].read_text(encoding="utf-8"))
        record.figures["benchmarks"] = results["benchmarks"]
        record.lines = format_measurements(results)


def make_ruler_step(name: str) -> Callable:
    """Return a step that trains an experiment against its hold-out, as long as there is time."""

    def run(settings: CheckSettings, seconds: float, record: StepRecord) -> None:
        folder = settings.folder / "ruler" / name
        line = [sys.executable, "-m", "benchmarks.gpu_check.ruler", "--config", name]
        line += ["--device", str(settings.device), "--out", str(folder)]
        line += ["--seconds", f"{max(seconds - 15, 5):.0f}"]  # of which the last validation
        line += ["--rehearse"] if settings.rehearse else []
        ended = run_process(line, seconds, {})
        curve = read_curve(folder)
        record.figures = curve
        record.lines = describe_curve(name, curve)
        if curve.get("points"):
            record.outcome = "cut short" if ended.cut else "passed"
        elif why := why_skipped(ended):
            record.outcome, record.reason = "skipped", why
        elif ended.cut:
            record.outcome, record.reason = "cut short", "its time was over before the first score"
        else:
            record.outcome, record.reason = "failed", ended.last_line

    return run


# Smallest first: a check that is cut short leaves as many answers as it can. The times are for a
# GPU of the data centre; they add up to less than the nine minutes of all.
STEPS = (
    Step(
        "parts",
        "does every transform, front-end, network, loss and hook give what the CPU gives, and does "
        "none make the host wait?",
        100,
        make_test_step(
            "tests/test_gpu_parts.py", "RankLoss or MixupTrain2 or CQT or FlipWave or CNN1d"
        ),
    ),
    Step(
        "training",
        "mixed precision, resuming, determinism, a full memory, caches on the device, --compile",
        140,
        make_test_step(
            "tests/test_gpu_training.py",
            "memory or (unbroken and bf16) or (step and norm and bf16) or crops or pairs",
        ),
    ),
    Step(
        "times",
        "what does each part cost beside its rival, `python -m benchmarks`?",
        110,
        time_parts,
    ),
    Step(
        "Wave07",
        "how soon does the filter bank reach the ruler, AUC against seconds?",
        70,
        make_ruler_step("Wave07"),
        least=30,
    ),
    Step(
        "Wave01",
        "how soon does a residual network get how near to it?",
        100,
        make_ruler_step("Wave01"),
        least=30,
    ),
)
