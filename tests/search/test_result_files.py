"""What a search leaves: the table of triggers and the summary, against hand-made results."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from search.result import SearchResult
from search.result_files import format_summary, logistic, write_triggers
from search.time_slides import Background
from search.triggers import Trigger

HOUR = 3600.0


@pytest.fixture
def result() -> SearchResult:
    """Two triggers in two hours; in ten hours of background one is as loud as the second."""
    loud = Trigger(score=4.0, window=7, time=1000.25, slid_as_loud=0, rate=0.1 / HOUR)
    quiet = Trigger(score=1.0, window=90, time=1009.5, slid_as_loud=1, rate=0.2 / HOUR)
    background = Background(slides=5, triggers=3, loudest=2.5, live_time=10 * HOUR)
    return SearchResult(
        1000.0, 8200.0, ("H1", "L1"), [loud, quiet], 2, live_time=2 * HOUR, background=background
    )


def test_the_table_of_triggers(result: SearchResult, tmp_path: Path) -> None:
    write_triggers(tmp_path / "candidates.csv", result)
    with open(tmp_path / "candidates.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["rank"], first["gps"], first["score"]) == ("1", "1000.250", "4.0000")
    assert float(first["probability"]) == pytest.approx(1 / (1 + math.exp(-4.0)), abs=1e-6)
    assert (first["slid_as_loud"], second["slid_as_loud"]) == ("0", "1")
    assert float(second["false_alarms_per_hour"]) == pytest.approx(0.2)
    # 0.2 an hour make 0.4 expected false alarms in two hours.
    chance = float(second["false_alarm_probability"])
    assert chance == pytest.approx(1 - math.exp(-0.4), rel=1e-3)


def test_without_a_background_there_are_no_rates(result: SearchResult, tmp_path: Path) -> None:
    result.background = Background()
    for trigger in result.triggers:
        trigger.rate = math.nan
    write_triggers(tmp_path / "candidates.csv", result)
    with open(tmp_path / "candidates.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["slid_as_loud"] == first["false_alarms_per_hour"] == ""
    assert "false alarms" not in format_summary(result)


def test_the_summary_names_the_loudest_and_its_rate(result: SearchResult) -> None:
    text = format_summary(result)
    assert "of H1, L1: 2 triggers, the loudest at GPS 1000.25 with a score of 4.00" in text
    assert "the next 1.00" in text
    assert "Of 3 background triggers" in text
    assert "none was as loud, the loudest has 2.50: at most 0.1 false alarms an hour" in text


def test_logistic_does_not_overflow() -> None:
    assert logistic(0.0) == 0.5
    assert logistic(-1000.0) == 0.0
    assert logistic(1000.0) == 1.0
