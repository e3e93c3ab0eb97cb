"""The list of searches, from what detect.py writes and from damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_runs import make

import report
from reporting import searches
from reporting.searches import read_searches
from runtime.errors import UserError
from search import folder as search_folder

HOSTILE = '"><script>hacked=1</script>'


def write_search(folder: Path, **changed: object) -> Path:
    folder.mkdir(parents=True)
    record = {
        "config": "Wave07",
        "detectors": ["H1", "L1"],
        "gps_start": 1126259446.0,
        "gps_end": 1126259478.0,
        "live_seconds": 30.5,
        "slid_live_seconds": 3600.0,
        "candidates": 2,
    }
    (folder / "detection.json").write_text(json.dumps(record | changed))
    (folder / "candidates.csv").write_text(
        "rank,gps,score,limit,false_alarms_per_year\n"
        "1,1126259462.42,21.30,<,8766\n2,1126259450.00,3.1,,90000\n"
    )
    (folder / "detection.html").write_text("<html>")
    return folder


def test_the_names_are_those_of_the_searches() -> None:
    assert searches.RECORD == search_folder.RECORD
    assert searches.UNFINISHED == search_folder.UNFINISHED
    assert {searches.PAGE, searches.CANDIDATES} <= set(search_folder.RESULTS)


def test_searches_stand_on_the_page_with_links_to_their_own(results: Path) -> None:
    write_search(results / "whole" / "detect")
    write_search(results / "wave_07" / "detect" / "a: b")
    (results / "whole" / "detect_more" / ".unfinished").mkdir(parents=True)
    page = make(results)
    words = page.words()
    for text in (
        "1126259446 to 1126259478",
        "1126259462.42",
        "21.30",
        "< 8766",
        "Wave07",
        "H1, L1",
    ):
        assert text in words
    assert "it has not ended: the same command with --resume goes on with it" in words
    links = [a["href"] for tag, a in page.elements if tag == "a" and "detection" in a["href"]]
    assert links == ["./wave_07/detect/a%3A%20b/detection.html", "./whole/detect/detection.html"]
    assert ("a", {"href": "#searches"}) in page.elements


def test_a_folder_of_searches_alone_is_shown_too(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_search(results / "wave_07" / "detect")
    words = make(results).words()
    assert "0 experiments" in words
    assert "21.30" in words


def test_other_folders_are_named(results: Path, tmp_path: Path) -> None:
    write_search(tmp_path / "month" / "one")
    (tmp_path / "empty").mkdir()
    page = make(results, "--searches", str(tmp_path / "month"))
    assert "../month/one/detection.html" in page.text
    for name, why in (("empty", "holds no search"), ("absent", "is no folder")):
        with pytest.raises(UserError, match=why):
            report.main(["--results", str(results), "--searches", str(tmp_path / name)])


def test_damaged_and_hostile_searches_stay_text(results: Path) -> None:
    write_search(results / "one" / "detect", config=HOSTILE, detectors=[HOSTILE], gps_start="x")
    folder = write_search(results / "two" / "detect")
    quoted = HOSTILE.replace('"', '""')
    (folder / "candidates.csv").write_text(f'gps,score\n"{quoted}",1\n')
    (write_search(results / "three" / "detect") / "detection.json").write_text("[1")
    page = make(results)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert "is not a JSON file" in page.words()
    found = {each.folder.parent.name: each for each in read_searches(results)}
    assert found["three"].record == {}
    assert found["two"].loudest["gps"] == HOSTILE
