"""The check of a GPU goes its whole way in small, on a CPU; and keeps its time."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import steps
from benchmarks.gpu_check.processes import Ended, run_process, stopped_with_its_children
from benchmarks.gpu_check.record import CheckRecord, StepRecord
from benchmarks.gpu_check.ruler import describe_curve
from benchmarks.gpu_check.steps import (
    STEPS,
    CheckSettings,
    Step,
    fill_in_tests,
    time_parts,
    why_skipped,
)
from runtime.errors import UserError
from runtime.optional_packages import require


def check(out: Path, *arguments: str) -> dict:
    """Rehearse on the CPU and return gpu_check.json."""
    command.main(["--device", "cpu", "--rehearse", "--out", str(out), *arguments])
    return json.loads((out / "gpu_check.json").read_text())


def test_the_rehearsal_goes_the_whole_way(tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")  # the ruler's signals
    content = check(tmp_path, "--minutes", "60")
    found = {step["name"]: step for step in content["steps"]}
    assert [step.name for step in STEPS] == list(found)
    assert {name: step["outcome"] for name, step in found.items()} == dict.fromkeys(
        found, "passed"
    ), content
    assert found["parts"]["figures"]["passed"] >= 4
    assert found["training"]["figures"]["passed"] >= 4
    assert found["times"]["figures"]["done"] == ["cwt_width"]
    for name in ("Wave07", "Wave01"):
        points = found[name]["figures"]["points"]
        assert [point["samples"] for point in points] == [16, 32]
        assert all(0 <= point["auc"] <= 1 for point in points)
    assert content["rehearsed"]
    assert content["seconds"] > 0
    text = (tmp_path / "gpu_check.md").read_text()
    assert "A rehearsal" in text
    for name in found:
        assert f"| {name} |" in text
        assert f"## {name}" in text


def record_in(folder: Path, budget: float) -> tuple[CheckSettings, CheckRecord]:
    device = {"name": "a device"}
    settings = CheckSettings(torch.device("cpu"), folder, True)
    return settings, CheckRecord(folder, device, {"versions": {"torch": "2"}}, budget, True)


def test_a_step_that_fails_and_a_time_that_is_over_are_recorded(tmp_path: Path) -> None:
    seen = []

    def fails(settings: CheckSettings, seconds: float, found: StepRecord) -> None:
        seen.append(seconds)
        # what was found before lies in the files while the next step runs
        written = json.loads((tmp_path / "gpu_check.json").read_text())
        assert [step["outcome"] for step in written["steps"]] == [None, None, None]
        raise ValueError("no | such kernel")

    def passes(settings: CheckSettings, seconds: float, found: StepRecord) -> None:
        seen.append(seconds)
        written = json.loads((tmp_path / "gpu_check.json").read_text())
        assert [step["outcome"] for step in written["steps"]] == ["failed", None, None]
        found.outcome, found.lines = "passed", ["a line"]

    three = [
        Step("one", "fails?", 7, fails, least=1),
        Step("two", "passes?", 1000, passes, least=1),
        Step("three", "has time?", 1000, passes, least=900),
    ]
    settings, record = record_in(tmp_path, 100)
    command.run_steps(three, settings, record)
    assert [step.outcome for step in record.steps] == ["failed", "passed", "skipped"]
    assert record.steps[2].reason == "no time was left"
    assert seen[0] == 7 * command.PATIENCE
    assert 50 < seen[1] < 98  # of a hundred, less what is kept for writing
    assert record.has_failed
    text = record.markdown_path.read_text()
    assert "failed: ValueError: no \\| such kernel" in text
    assert "## two" in text
    assert "a line" in text


def test_a_process_ends_with_its_time_and_leaves_what_it_said() -> None:
    started = time.monotonic()
    ended = run_process(["sh", "-c", "echo begun; sleep 60 & wait"], 0.5, {})
    assert ended.cut
    assert ended.output == "begun\n"
    assert time.monotonic() - started < 30
    ended = run_process(["sh", "-c", 'echo "$A"; exit 3'], 20, {"A": "seen"})
    assert (ended.code, ended.cut, ended.last_line) == (3, False, "seen")


def test_a_check_that_is_stopped_stops_what_it_has_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    def stop_once_begun() -> None:
        while not (mark.exists() and mark.read_text().endswith("\n")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_once_begun, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), stopped_with_its_children():
        run_process(["sh", "-c", f"echo $$ > {mark}; exec sleep 60"], 60, {})
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


OUTPUT = """\
tests/test_gpu_parts.py::test_losses[A b] PASSED       [ 50%]
tests/test_gpu_parts.py::test_losses[C] FAILED         [ 75%]
tests/test_gpu_parts.py::test_hooks[D] SKIPPED (no)    [100%]
FAILED tests/test_gpu_parts.py::test_losses[C] - AssertionError: 0.1 of the largest
"""


@pytest.mark.parametrize(
    ("output", "code", "cut", "outcome"),
    [
        (OUTPUT, 1, False, "failed"),
        (OUTPUT, -15, True, "cut short"),
        (OUTPUT.splitlines()[0], 0, False, "passed"),
        ("ModuleNotFoundError: No module named 'timm'", 4, False, "failed"),
        ("no tests ran", 0, False, "failed"),
    ],
)
def test_what_tests_print_is_counted(output: str, code: int, cut: bool, outcome: str) -> None:
    record = StepRecord("parts", "?")
    fill_in_tests(record, Ended(code, output, 1.0, cut))
    assert record.outcome == outcome
    if output == OUTPUT:
        assert record.figures == {
            "passed": 1,
            "failed": ["tests/test_gpu_parts.py::test_losses[C]"],
            "skipped": 1,
        }
        assert "AssertionError: 0.1" in "\n".join(record.lines)


def test_a_missing_package_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lalsimulation", None)
    with pytest.raises(UserError) as error:
        require("lalsimulation", "sim")
    why = why_skipped(Ended(1, f"train: {error.value}", 1.0, False))
    assert "the package 'lalsimulation' is needed here" in why
    assert why_skipped(Ended(1, "CUDA error: invalid argument", 1.0, False)) is None
    assert why_skipped(Ended(0, "", 1.0, False)) is None


def test_benchmarks_that_are_cut_leave_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of them are cut; a missing package is said, and a failure stays one."""
    missing = "the package 'lalsimulation' is needed here and not installed: install it"
    ends = {
        "tta": Ended(-15, "", 60.0, True),
        "simulating": Ended(1, missing, 1.0, False),
        "cqt": Ended(1, "CUDA error", 1.0, False),
    }

    def ending(line, seconds, environment) -> Ended:
        return ends.get(line[3], Ended(0, "", 10.0, False))

    monkeypatch.setattr(steps, "run_process", ending)
    settings = CheckSettings(torch.device("cuda"), tmp_path, False)
    record = StepRecord("times", "?")
    time_parts(settings, 110, record)
    assert record.outcome == "failed"
    assert "cqt" not in record.figures["done"]
    assert record.figures["done"][-1] == "training_step"
    assert "simulating: the package" in record.reason
    assert "tta: its time was over" in record.reason
    del ends["cqt"]
    time_parts(settings, 110, record)
    assert record.outcome == "cut short"
    del ends["tta"]
    time_parts(settings, 110, record)
    assert record.outcome == "passed"
    assert "simulating: the package" in record.reason


def test_a_curve_says_when_it_reaches_the_ruler() -> None:
    points = [
        {"seconds": 1.5, "samples": 100, "auc": 0.8},
        {"seconds": 3.0, "samples": 200, "auc": 0.881},
    ]
    curve = {"ready_seconds": 2.0, "points": points, "ruler": {"auc": 0.884, "auc_error": 0.005}}
    assert "within 0.005 of it after 3.0 s" in describe_curve("Wave07", curve)[0]
    curve["points"] = points[:1]
    assert "not in this time" in describe_curve("Wave07", curve)[0]


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for arguments, message in (
        (["--device", "cpu"], "rehearse on the CPU with --device cpu --rehearse"),
        (["--steps", "nothing"], "expected some of parts"),
        (["--minutes", "0"], "above 0"),
    ):
        with pytest.raises(UserError, match=message):
            command.main([*arguments, "--out", str(tmp_path)])
