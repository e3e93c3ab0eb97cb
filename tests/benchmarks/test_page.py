"""The page shows the figures that were recorded."""

from __future__ import annotations

import dataclasses
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
    readme = page.README.read_text()
    assert readme == page.replace_rivals(readme, every), "run: python -m benchmarks.page"
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


def test_the_readme_holds_the_comparisons_that_were_made_last() -> None:
    row = dataclasses.replace(some_measurement(), key="timm.training_step", what="a step")
    other = dataclasses.replace(some_measurement(), key="torchaudio.biquad", what="a filter")
    every = []
    for device, day, name in (
        ("Older", "2026-01-01", "rivals"),
        ("Newer", "2026-02-02", "rivals"),
        ("Oldest", "2025-01-01", "rivals"),
        ("Newest", "2026-03-03", "cqt"),  # of something else
    ):
        made = {**entry([row, other]), "date": f"{day}T00:00:00+0000"}
        described = {"name": device, "kind": "cpu", "cores": 2}
        every.append((Path(device), {"device": described, "benchmarks": {name: made}}))
    readme = page.README.read_text()
    text = page.replace_rivals(readme, every)
    assert "\nNewer, 2 cores: 2026-02-02, " in text
    assert "| a step | " in text
    assert "`python -m benchmarks.rivals timm` |" in text
    assert not any(word in text for word in ("Oldest", "Newest", "| a filter", page.NOTHING))
    assert page.NOTHING in page.replace_rivals(readme, [])
    begin, _ = page.section_marks("rivals")
    with pytest.raises(UserError, match=r"README.md lacks .* put them back"):
        page.replace_rivals(text.replace(begin, ""), [])


def test_a_page_without_marks_is_refused() -> None:
    begin, end = page.section_marks("growth")
    text = page.PAGE.read_text()
    with pytest.raises(UserError, match="put them back"):
        page.replace_sections(text.replace(end, ""), [])
    assert text.count(begin) == text.count(end) == 1
