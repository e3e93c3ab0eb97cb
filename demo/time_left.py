"""How long a job of several steps still takes: a line every few seconds, whatever a step says."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runtime.console import format_seconds, person_watches

SECONDS_BETWEEN_LINES = 10.0
# A step that took a smaller part of what it was expected to had been done before, and says nothing
# of the speed of the machine.
DONE_BEFORE = 0.4


@dataclass(frozen=True)
class Step:
    """A step of a job.

    Attributes:
        what: what it does, in a few words.
        seconds: that it takes on the machine it was measured on.
    """

    what: str
    seconds: float


class TimeLeft:
    """Says which step is under way and how long all of them together still take, about.

    The first estimate is that of the machine the steps were measured on. Steps that are finished,
    or take longer than that, tell how much slower or faster this one is.

    Args:
        steps: in their order.
        say: takes a line; None writes to stderr.
        clock: returns s.
        interval: s between lines.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        interval: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self.steps, self.clock, self.interval = tuple(steps), clock, interval
        self.say = say_above_a_bar if say is None else say
        self.began = self.step_began = clock()
        self.number = -1  # of the step that is under way
        # Of the steps that tell something of the speed.
        self.expected, self.taken = 0.0, 0.0

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Say that a step begins, and while the block runs how long is left.

        Args:
            number: of the step, from 0.
        """
        self.number, self.step_began = number, self.clock()
        self.say(self.line())
        ended = threading.Event()
        watch = threading.Thread(target=self.say_until, args=(ended,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
        seconds = self.clock() - self.step_began
        expected = self.steps[number].seconds
        if seconds >= DONE_BEFORE * expected:
            self.expected += expected
            self.taken += seconds

    def say_until(self, ended: threading.Event) -> None:
        """Say a line every few seconds until the step has ended."""
        while not ended.wait(self.interval):
            self.say(self.line())

    def seconds_left(self) -> float:
        """Return how long all steps that are not finished take, s."""
        inside = self.clock() - self.step_began
        expected = self.steps[self.number].seconds
        pace = self.taken / self.expected if self.taken else 1.0
        # A step that takes longer than it should says that the machine is slower than was thought.
        pace = max(pace, inside / expected)
        after = sum(step.seconds for step in self.steps[self.number + 1 :])
        # It is nearer to its end than to anything else that could be said of it.
        rest = max(pace * expected - inside, 0.1 * inside)
        return rest + pace * after

    def line(self) -> str:
        """Return what is done now and how long is left, on one line."""
        step = self.steps[self.number]
        return (
            f"[step {self.number + 1} of {len(self.steps)}: {step.what}; "
            f"{format_seconds(self.clock() - self.began)} so far, "
            f"about {format_roughly(self.seconds_left())} left]"
        )


def format_roughly(seconds: float) -> str:
    """Return a duration that is an estimate: to 5 s below a minute, to 10 s above."""
    unit = 5 if seconds < 60 else 10
    return format_seconds(max(unit * round(seconds / unit), unit))


def say_above_a_bar(line: str) -> None:
    """Write a line to stderr; on a terminal above the bar that a step draws there."""
    # Erases the bar, which is drawn again below the line when it moves on.
    before = "\r\x1b[K" if person_watches() else ""
    sys.stderr.write(f"{before}{line}\n")
    sys.stderr.flush()
