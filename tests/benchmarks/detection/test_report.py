"""The recorded figures and the page that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import __main__ as detection
from benchmarks.detection import report as detection_report
from benchmarks.detection.scores import detection_figures
from benchmarks.harness.result_files import list_records
from runtime.errors import UserError
from runtime.files import read_json

pytest.importorskip("lalsimulation")


def test_figures_of_other_samples_are_not_mixed(tmp_path) -> None:
    one, rounded, two = (
        {"samples": 24, "signals": 12, "known": known, "settings": {"snr": [3.7, 27.0], "seed": 0}}
        for known in ([5.0, 8.0], [5.0, 8.0002], [5.0, 8.1])
    )
    entry = {
        "scorer": "x",
        "samples": 24,
        "seconds": 61.0,
        "device": "cpu",
        "threads": 1,
        **detection_figures(np.arange(24) % 2, np.arange(24) % 2 * 5.0, np.arange(24.0)),
    }
    record = detection_report.record_detection
    record(tmp_path, one, {"first": entry})
    path = record(tmp_path, rounded, {"second": entry})
    assert set(read_json(path)["detectors"]) == {"first", "second"}
    assert "x 1 min 01 s on cpu" in path.with_suffix(".md").read_text()
    for other in (two, {**two, "samples": 20}, {**two, "settings": {**two["settings"], "seed": 1}}):
        before = record_contents(tmp_path)
        record(tmp_path, other, {"second": entry})
        assert set(read_json(path)["detectors"]) == {"second"}
        assert before <= record_contents(tmp_path)  # moved aside
        record(tmp_path, two, {"second": entry})
        record(tmp_path, two, {"third": entry})
    path.write_text("{}")
    with pytest.raises(UserError, match="holds no detectors' results"):
        record(tmp_path, one, {"first": entry})


def record_contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.glob("detection.*")}


def test_figures_of_other_weights_are_kept_aside(tmp_path) -> None:
    """The same detector on the same samples, trained again: its first figures are not lost."""
    holdout = {"samples": 24, "signals": 12, "known": [5.0], "settings": {"snr": [4, 9], "seed": 0}}
    figures = detection_figures(np.arange(24) % 2, np.arange(24) % 2 * 5.0, np.arange(24.0))
    entry = {"scorer": "x", "samples": 24, "seconds": 1.0, "device": "cpu", "threads": 1, **figures}
    record = detection_report.record_detection
    path = record(tmp_path, holdout, {"demo": {**entry, "settings": {"weights": "one"}}})
    record(tmp_path, holdout, {"demo": {**entry, "settings": {"weights": "one"}, "seconds": 2.0}})
    record(tmp_path, holdout, {"other": {**entry, "settings": {}}})
    assert len(list(tmp_path.glob("*.json"))) == 1  # measured again, or joined by another
    before = record_contents(tmp_path)
    record(tmp_path, holdout, {"demo": {**entry, "settings": {"weights": "two"}}})
    assert before < record_contents(tmp_path)
    assert set(read_json(path)["detectors"]) == {"demo", "other"}
    assert [each.name for each in list_records(tmp_path)] == ["detection.json"]


def test_numbers_have_the_digits_that_their_errors_need() -> None:
    text = detection_report.format_with_error
    assert text(0.85512, 0.0061) == "0.855 ± 0.006"
    assert text(0.99943, 0.0001) == "0.9994 ± 0.0001"
    assert text(1.0, 0.0) == "1.0000"


def test_the_page_is_not_stale() -> None:
    path = detection_report.RESULTS / "detection.json"
    results = detection_report.load_detection(path)
    assert results["holdout"]["samples"] >= detection.RECORD_SAMPLES
    text = detection_report.PAGE.read_text()
    assert text == detection_report.replace_section(text, results), (
        "run: python -m benchmarks.detection --page"
    )
    for name in ("detection-efficiency.png", "detection-roc.png"):
        assert (detection_report.FIGURES / name).is_file()


def test_the_known_ceilings_come_out() -> None:
    """The record's AUC agree within two errors with what other samples of the same law gave."""
    results = detection_report.load_detection(detection_report.RESULTS / "detection.json")
    for name in detection_report.EXPECTED:
        assert detection_report.sigmas_apart(name, results["detectors"][name]) < 2, name


def test_a_page_without_marks_is_refused() -> None:
    results = detection_report.load_detection(detection_report.RESULTS / "detection.json")
    with pytest.raises(UserError, match="put them back"):
        detection_report.replace_section("nothing", results)
