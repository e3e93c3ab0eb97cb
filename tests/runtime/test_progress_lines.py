"""Lines of progress: not more often than every few seconds, and honest about what is left."""

from __future__ import annotations

import logging

import pytest

from runtime.console import LOGGER
from runtime.progress_lines import ProgressLines


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(LOGGER, "info", said.append)
    assert logging.getLogger("g2net") is LOGGER
    return said


def test_a_line_every_five_seconds(lines: list[str]) -> None:
    now = [100.0]
    shown = ProgressLines("search", 200.0, show_bar=False, clock=lambda: now[0])
    for number in range(1, 101):
        now[0] += 1.0
        shown.advance(2.0, f"stretch {number}")
    shown.close()
    assert len(lines) == 20
    assert lines[0] == "search: 5 %, stretch 5, about 1 min 35 s left"
    assert lines[-1] == "search: 100 %, stretch 100, about 0 s left"


def test_what_was_done_before_does_not_count_as_speed(lines: list[str]) -> None:
    now = [0.0]
    shown = ProgressLines("search", 100.0, show_bar=False, clock=lambda: now[0])
    shown.skip(50.0)
    assert lines == []
    now[0] = 10.0
    shown.advance(10.0, "stretch 6 of 10")
    assert lines == ["search: 60 %, stretch 6 of 10, about 40 s left"]


def test_a_bar_takes_the_place_of_the_lines(
    lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ProgressLines("search", 10.0, show_bar=True, clock=lambda: 0.0)
    shown.advance(10.0, "the end")
    shown.close()
    assert lines == []
    assert "search" in capsys.readouterr().err
