"""Result files keep every benchmark's entry and say which targets are missed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from benchmark_examples import CPU, entry, some_measurement
from child_processes import run_at_once

from benchmarks import RESULTS
from benchmarks.detection import ablation
from benchmarks.detection import report as detection_report
from benchmarks.harness import result_files
from benchmarks.harness.result_files import FORMAT, list_records, load_results, record_entry
from runtime.errors import UserError
from runtime.files import read_json


def test_missed_targets_stay_with_figure_and_reason(tmp_path: Path) -> None:
    row = some_measurement(reason="It was measured so.")
    assert row.verdict("cpu") == "missed"
    assert row.verdict("cuda") == "reached"
    assert some_measurement(targets={}).verdict("cpu") is None
    assert some_measurement(more_is_better=False).verdict("cpu") == "reached"
    path = record_entry(tmp_path, CPU, "some", entry([row]))
    text = path.with_suffix(".md").read_text()
    assert "| 4.00 (3.00 to 6.00) × | ≥ 5 × | ≥ 3 × | **missed** (within the quartiles) |" in text
    assert "- ours: 4.00 (3.00 to 6.00) ×, target ≥ 5 ×: It was measured so." in text
    record_entry(tmp_path, CPU, "some", entry([some_measurement()]))
    assert "no reason has been measured yet" in path.with_suffix(".md").read_text()


def test_entries_of_others_stay(tmp_path: Path) -> None:
    record_entry(tmp_path, CPU, "cqt", entry([some_measurement(what="the first")]))
    path = record_entry(
        tmp_path, CPU, "cwt", entry([some_measurement(what="the second")], disturbed=True)
    )
    assert set(load_results(path)["benchmarks"]) == {"cqt", "cwt"}
    text = path.with_suffix(".md").read_text()
    assert text.index("the second") < text.index("the first")  # in the order of BENCHMARKS
    assert "⚠ Others used more than a tenth of the cores" in text
    assert "0123456789+" in text


def test_two_processes_at_once_lose_no_entry(tmp_path: Path, monkeypatch) -> None:
    """Each reads the file, takes its time, and writes it with its own entry."""
    load = result_files.load_results

    def slow_load(path: Path) -> dict:
        results = load(path)
        time.sleep(0.005)
        return results

    monkeypatch.setattr(result_files, "load_results", slow_load)

    def record(names: list[str]) -> None:
        for name in names:
            record_entry(tmp_path, CPU, name, entry([some_measurement()]))

    lines = [[f"{who}{number}" for number in range(8)] for who in "ab"]
    ended = run_at_once(record, lines, tmp_path / "outputs")
    assert [code for code, _ in ended] == [0, 0], ended
    (path,) = list_records(tmp_path)
    assert set(load_results(path)["benchmarks"]) == {*lines[0], *lines[1]}


def test_half_written_records_of_killed_processes_are_removed(tmp_path: Path) -> None:
    path = record_entry(tmp_path, CPU, "cqt", entry([some_measurement()]))
    half = [path.with_name(f".{path.stem}.{'a1' * 6}.tmp{end}") for end in (".json", ".md")]
    other = tmp_path / f".notes.{'a1' * 6}.tmp.json"
    for each in (*half, other):
        each.write_text("{")
    record_entry(tmp_path, CPU, "cwt", entry([some_measurement()]))
    assert not any(each.exists() for each in half)
    assert other.exists()


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    path = record_entry(tmp_path, CPU, "cqt", entry([some_measurement()]))
    path.write_text('{"format": 99}')
    with pytest.raises(UserError, match="holds no results of format 1"):
        record_entry(tmp_path, CPU, "cqt", entry([some_measurement()]))


def test_recorded_results_are_whole() -> None:
    formats = {"detection": detection_report.FORMAT, "ablation": ablation.FORMAT}
    # Figures of one page each, which their own tests read; docs/explanation/glitches.md has them.
    of_one_page = {"blips", "blips_trained", "glitch_ranking", "mdc"}
    for path in list_records(RESULTS):
        if path.stem in of_one_page:
            assert read_json(path)
            continue
        assert read_json(path)["format"] == formats.get(path.stem, FORMAT)
        assert path.with_suffix(".md").is_file()
