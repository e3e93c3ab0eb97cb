"""What a search leaves: the table of triggers and the summary, against hand-made results."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import pytest
from search_results import HOUR, make_result

from data.data_quality import ExcludedTimes
from data.gates import Gate
from search.background import SECONDS_PER_YEAR
from search.conditioned_stretch import MissingStrain
from search.result_files import format_summary, make_search_record, write_candidates, write_excluded
from search.settings import SearchSettings

YEAR_HOURS = SECONDS_PER_YEAR / HOUR


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_triggers(tmp_path: Path) -> None:
    """Two triggers in an hour; in 20 hours of background two are as loud as the second."""
    write_candidates(tmp_path / "c.csv", make_result([100.25, 900.5], [4.0, 1.0], [2.5, 1.0, 0.5]))
    first, second = read_rows(tmp_path / "c.csv")
    assert (first["rank"], first["gps"], first["score"]) == ("1", "1000000100.2500", "4.0000")
    assert "probability" not in first
    assert (first["score_H1"], first["score_V1"], first["snr_H1"]) == ("1.0000", "", "")
    assert (first["combination"], first["removed"], second["removed"]) == ("H1L1", "1", "")
    assert (first["slid_as_loud"], second["slid_as_loud"]) == ("0", "2")
    assert (first["limit"], second["limit"]) == ("<", "")
    assert float(first["false_alarms_per_year"]) == pytest.approx(YEAR_HOURS / 20, rel=1e-3)
    assert float(first["ifar_years"]) == pytest.approx(20 / YEAR_HOURS, rel=1e-3)
    # 1 in 20 hours makes 0.05 expected false alarms in one hour.
    assert float(first["p_value"]) == pytest.approx(1 - math.exp(-0.05), rel=1e-3)
    assert float(first["sigma"]) == pytest.approx(1.6571, abs=1e-3)
    # less live time, as 9 s around the first are removed from either detector of each slide
    hours = 20 * (1 - 17.9 / HOUR)
    assert float(second["false_alarms_per_year"]) == pytest.approx(3 * YEAR_HOURS / hours, rel=2e-3)


def test_without_a_background_there_are_no_rates(tmp_path: Path) -> None:
    result = make_result([100.25], [4.0], [], slides=0)
    write_candidates(tmp_path / "c.csv", result)
    (first,) = read_rows(tmp_path / "c.csv")
    assert first["slid_as_loud"] == first["false_alarms_per_year"] == first["limit"] == ""
    assert "no time slides of H1L1, and so no false-alarm rates" in format_summary(result)


def test_the_summary_names_what_bounds_the_significance() -> None:
    text = format_summary(make_result([100.25, 900.5], [4.0, 1.0], [2.5, 0.5]))
    assert text == (
        "Searched 1 h 00 min of H1L1: 2 triggers, the loudest at GPS 1000000100.25 with a score "
        "of 4.00, the next 1.00. No slid trigger is as loud in 20 h 00 min of time slides "
        "(19 h 54 min after the loudest was removed): less than 1.2 a day as a false-alarm rate "
        "(IFAR > 0.00228 years), p < 0.049, more than 1.7 sigma. This is the floor that the "
        "length of the strain and its time slides set, not the trigger: more slides or more strain "
        "lower it. 1 trigger counts as a signal and is removed from the background of the others."
    )
    two = format_summary(make_result([100.25, 900.5], [4.0, 3.0], [2.5, 0.5]))
    assert "20 h 00 min of time slides (19 h 49 min after 2 signals were removed): less" in two


def test_the_summary_of_a_trigger_that_is_none() -> None:
    text = format_summary(make_result([100.25], [1.0], [2.5, 1.5, 1.0, 0.5]))
    assert "3 slid triggers are as loud in 20 h 00 min of time slides: a false-alarm" in text
    assert "a false-alarm rate of 4.8 a day (IFAR 0.00057 years), p = 0.18, 0.9 sigma" in text
    assert "known to 50 % as 4 events count" in text
    assert "background of the others" not in text
    assert "no triggers." in format_summary(make_result([], [], [1.0]))


def test_the_record_is_json_and_counts(tmp_path: Path) -> None:
    result = dataclasses.replace(
        make_result([100.25, 900.5], [4.0, 1.0], [2.5, 0.5]),
        gates=[Gate("H1", 1e9 + 5, 1e9 + 6, 70.0, 90.0)],
        missing=[MissingStrain("L1", 1e9 + 7, 1e9 + 7.5)],
        excluded=[ExcludedTimes("--veto x.txt", "L1", 12.5)],
    )
    record = make_search_record(result, SearchSettings(), {"config": "Demo"})
    record = json.loads(json.dumps(record))
    assert (record["config"], record["candidates"], record["gates"]) == ("Demo", 2, 1)
    assert record["live_seconds_by_combination"] == {"H1L1": 3600.0}
    assert record["slid_loudest"] == 2.5
    assert [event["score"] for event in record["removed_from_background"]] == [4.0]
    write_excluded(tmp_path / "excluded.csv", result)
    veto, gap, gate = read_rows(tmp_path / "excluded.csv")
    assert (veto["detector"], veto["reason"], veto["seconds"]) == ("L1", "--veto x.txt", "12.5")
    assert (gap["detector"], gap["reason"]) == ("L1", "gap, excluded or equal samples")
    assert (gap["gps_start"], gap["gps_end"]) == ("1000000007.0000", "1000000007.5000")
    assert (gate["reason"], gate["gps_start"], gate["snr"]) == ("gate", "1000000005.0000", "90.0")
