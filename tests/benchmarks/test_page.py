"""The page shows the figures that were recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_examples import CPU, entry, some_measurement

from benchmarks import RESULTS, page
from benchmarks.harness.result_files import record_entry
from runtime.errors import UserError


def test_the_page_is_not_stale() -> None:
    text = page.PAGE.read_text()
    every = page.load_all_results(RESULTS)
    assert text == page.replace_sections(text, every), "run: python -m benchmarks.page"
    for path, results in every:
        assert not any(entry["quick"] for entry in results["benchmarks"].values()), path
        assert path.stem == results["device"]["slug"]


def test_the_page_holds_what_was_recorded(tmp_path: Path) -> None:
    path = record_entry(tmp_path, CPU, "cqt", entry([some_measurement()]))
    text = page.replace_sections(page.PAGE.read_text(), page.load_all_results(tmp_path))
    assert "| ours | theirs | 4.00" in text
    assert path.stem in text
    assert "Not measured: none was at hand" in text  # of a GPU
    empty = page.replace_sections(text, [])
    assert "| ours | theirs | 4.00" not in empty
    assert empty.count(page.NOTHING) == len(page.SECTIONS)


def test_a_page_without_marks_is_refused() -> None:
    begin, end = page.section_marks("growth")
    text = page.PAGE.read_text()
    with pytest.raises(UserError, match="put them back"):
        page.replace_sections(text.replace(end, ""), [])
    assert text.count(begin) == text.count(end) == 1
