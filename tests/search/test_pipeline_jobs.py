"""A job of a search runs its command line and marks what that has finished."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runtime.errors import UserError
from search.pipeline_jobs import main, parse_command


def test_what_a_command_of_a_search_is_about() -> None:
    line = ["python", "detect.py", "--strain", "H1=a", "--out", "o3a", "--resume"]
    assert parse_command(line) == ("detect", Path("o3a"), "search.done")
    name = ".parts/0002_of_0003.done"
    assert parse_command([*line, "--part", "2/3"]) == ("detect", Path("o3a"), name)
    line = ["python", "-m", "benchmarks.mdc", "--out", "m", "--part", "1/2"]
    assert parse_command(line) == ("mdc", Path("m"), ".parts/0001_of_0002.done")
    with pytest.raises(UserError, match=r"runs detect.py or benchmarks.mdc"):
        parse_command(["python", "train.py", "--out", "o"])


def test_a_mark_is_written_where_the_command_has_finished(tmp_path: Path) -> None:
    """In place of Python, programs that say how a search ends."""
    out, mark = tmp_path / "out", tmp_path / "marks" / "search.done"
    line = ["detect.py", "--out", str(out)]
    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\nexit 3\n")
    fails.chmod(0o755)
    assert main([str(mark), str(fails), *line]) == 3
    ends = tmp_path / "ends"
    ends.write_text("#!/bin/sh\nexit 0\n")
    ends.chmod(0o755)
    with pytest.raises(UserError, match="its results are missing"):
        main([str(mark), str(ends), *line])
    assert not mark.exists()
    out.mkdir()
    (out / "detection.json").write_text("{}")
    assert main([str(mark), str(ends), *line]) == 0
    first = mark.read_text()
    assert len(first) == 65
    (out / "detection.json").write_text('{"other": 1}')
    assert main([str(mark), str(ends), *line]) == 0
    assert mark.read_text() != first
    assert sys.argv[0] != "detect.py"  # it ran as a process of its own
