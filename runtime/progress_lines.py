"""Progress in the log, for commands whose output goes to a file: a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from runtime.console import LOGGER, format_seconds, person_watches, progress

SECONDS_BETWEEN_LINES = 5.0


class ProgressLines:
    """Says how far a job is: with a bar on a terminal, with lines in the log elsewhere.

    Args:
        what: the job, such as 'search'.
        total: size of the whole job, in any unit.
        show_bar: whether to draw the bar; None draws it if stderr is a terminal.
        clock: returns s.
    """

    def __init__(
        self,
        what: str,
        total: float,
        show_bar: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.clock = what, total, clock
        self.has_bar = person_watches() if show_bar is None else show_bar
        self.bar = progress(total=100, desc=what, unit="%", show=self.has_bar)
        self.done, self.skipped = 0.0, 0.0
        self.began = self.said = clock()

    def skip(self, amount: float) -> None:
        """Count what was done before, which says nothing of the speed."""
        self.skipped += amount
        self.advance(amount, "")

    def advance(self, amount: float, where: str) -> None:
        """Count what has just been done, and say so if the last line is some seconds old.

        Args:
            amount: in the unit of `total`.
            where: a few words on the place that was reached, such as 'stretch 3 of 20'.
        """
        self.done += amount
        if self.has_bar:
            self.bar.update(100 * amount / self.total)
            return
        now = self.clock()
        if now - self.said < SECONDS_BETWEEN_LINES or not where:
            return
        self.said = now
        fresh = self.done - self.skipped  # in this process
        left = (self.total - self.done) * (now - self.began) / fresh if fresh > 0 else 0.0
        LOGGER.info(
            f"{self.what}: {100 * self.done / self.total:.0f} %, {where}, about "
            f"{format_seconds(left)} left"
        )

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()
