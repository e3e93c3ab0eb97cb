"""The command line of the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from report_runs import write_run, write_tables

import report
from runtime.errors import UserError


@pytest.fixture
def samples(tmp_path: Path):
    return write_tables(tmp_path / "input")


@pytest.fixture
def results(tmp_path: Path, samples) -> Path:
    """One whole run, which every damage beside it must leave as it is."""
    folder = tmp_path / "results"
    write_run(folder, "whole", samples, tmp_path / "input", seed=1, tta=True)
    return folder


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a dry run"])
def test_no_runs_is_one_sentence(tmp_path: Path, there: str) -> None:
    results = tmp_path / "results"
    if there != "nothing":
        results.mkdir()
    if there == "a dry run":
        write_run(results, "dry_run", write_tables(tmp_path), tmp_path)
    line = [sys.executable, str(ROOT / "report.py"), "--results", str(results)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "train one first" in done.stderr
    assert not (results / "index.html").exists()


def test_where_it_is_written(results: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "elsewhere" / "page.html"
    assert report.main(["--results", str(results), "--out", str(out)]) == 0
    old = out.read_bytes()
    assert not (results / "index.html").exists()
    with pytest.raises(UserError, match="is a folder"):
        report.main(["--results", str(results), "--out", str(tmp_path)])

    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="no space left"):
        report.main(["--results", str(results), "--out", str(out)])
    assert out.read_bytes() == old
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, report; report.build_parser();"
        "print(*{'numpy', 'pandas', 'sklearn', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "", done.stderr
