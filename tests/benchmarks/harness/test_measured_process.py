"""Time and memory of a command and its children."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.harness.measured_process import run_measured
from runtime.errors import UserError

HOLD = "import time; held = b'x' * 100_000_000; time.sleep(0.4)"


def test_memory_of_a_child_counts(tmp_path: Path) -> None:
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    cost = run_measured(["-c", program], tmp_path)
    assert cost.seconds > 0.4
    if sys.platform == "linux":
        assert 100 < cost.megabytes < 150
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_one_sentence_with_what_was_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="failed: no such data"):
        run_measured(["-c", "import sys; sys.exit('no such data')"], tmp_path)
