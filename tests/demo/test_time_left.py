"""How long the demo still takes, with a clock that the tests set."""

from __future__ import annotations

import time

import pytest

from demo.time_left import Step, TimeLeft, format_roughly

STEPS = (Step("one", 30), Step("two", 100), Step("three", 20))


class Clock:
    """s, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def left(clock: Clock, lines: list[str]) -> TimeLeft:
    return TimeLeft(STEPS, lines.append, clock, interval=1000.0)


def test_the_first_line_has_the_time_of_all_steps(left: TimeLeft, lines: list[str]) -> None:
    with left.step(0):
        assert lines == ["[step 1 of 3: one; 0 s so far, about 2 min 30 s left]"]


def test_a_slower_machine_takes_as_much_longer(left: TimeLeft, clock: Clock) -> None:
    with left.step(0):
        clock.now += 60  # twice as long as it should
    with left.step(1):
        assert left.seconds_left() == pytest.approx(2 * 120)
        clock.now += 50
        assert left.seconds_left() == pytest.approx(2 * 120 - 50)


def test_a_step_that_had_been_done_before_says_nothing_of_the_speed(
    left: TimeLeft, clock: Clock
) -> None:
    with left.step(0):
        clock.now += 2
    with left.step(1):
        assert left.seconds_left() == pytest.approx(120)


def test_a_step_that_takes_too_long_is_never_said_to_be_over(left: TimeLeft, clock: Clock) -> None:
    with left.step(0):
        clock.now += 90  # three times its time, and it has not ended
        assert left.seconds_left() == pytest.approx(9 + 3 * 120)


def test_a_line_is_said_every_few_seconds_whatever_the_step_does(lines: list[str]) -> None:
    left = TimeLeft(STEPS, lines.append, interval=0.02)
    with left.step(1):
        time.sleep(0.3)
    said = len(lines)
    assert said >= 4
    time.sleep(0.1)
    assert len(lines) == said  # and none when it has ended


def test_lines_end_with_a_step_that_fails(left: TimeLeft) -> None:
    with pytest.raises(ValueError, match="this"), left.step(0):
        raise ValueError("this")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "5 s"), (42, "40 s"), (61, "1 min 00 s"), (247, "4 min 10 s")]
)
def test_estimates_are_round(seconds: float, text: str) -> None:
    assert format_roughly(seconds) == text
