"""The command line of the report."""

from __future__ import annotations

import subprocess
import sys
import time
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


def test_half_written_pages_of_killed_processes_are_removed(results: Path) -> None:
    half = results / f".index.{'a1' * 6}.tmp.html"
    other = results / f".notes.{'a1' * 6}.tmp.html"
    half.write_text("<html>")
    other.write_text("<html>")
    assert report.main(["--results", str(results)]) == 0
    assert not half.exists()
    assert other.exists()


def test_pages_that_move_aside_in_one_second_are_all_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    for text in ("one", "two"):
        (tmp_path / "index.html").write_text(text)
        report.keep_page_of_other_results(tmp_path / "index.html", tmp_path / "results")
    assert (tmp_path / "index.now.html").read_text() == "one"
    assert (tmp_path / "index.now-2.html").read_text() == "two"


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
    # Nothing half-written; the lock stays.
    assert {path.name for path in out.parent.iterdir()} == {".page.html.lock", "page.html"}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, report; report.build_parser();"
        "print(*{'numpy', 'pandas', 'sklearn', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "", done.stderr


def test_only_a_page_is_replaced_by_a_page(results: Path) -> None:
    out = results / "whole" / "history.csv"
    before = out.read_bytes()
    with pytest.raises(UserError, match="is not a page of this report"):
        report.main(["--results", str(results), "--out", str(out)])
    assert out.read_bytes() == before
    for _ in range(2):  # and a page by the next
        assert report.main(["--results", str(results)]) == 0


def test_the_page_of_other_results_is_kept(results: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "page.html", tmp_path / "other"
    write_run(other, "elsewhere", write_tables(tmp_path / "tables", seed=4), tmp_path / "tables")
    report.main(["--results", str(results), "--out", str(out)])
    before = out.read_bytes()
    report.main(["--results", str(other), "--out", str(out)])
    (kept,) = tmp_path.glob("page.*.html")
    assert kept.read_bytes() == before
    assert "elsewhere" in out.read_text()
    report.main(["--results", str(other), "--out", str(out)])  # the same results: replaced
    assert len(list(tmp_path.glob("page.*.html"))) == 1
