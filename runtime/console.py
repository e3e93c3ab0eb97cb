"""What is shown while a command runs: the log, progress bars, durations, messages as lines."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("g2net")
# Codes of terminals: colours and cursor (CSI), titles and links (OSC).
ESCAPE_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\].*?(?:\x07|\x1b\\\\)")


def person_watches() -> bool:
    """Return whether stderr is a terminal: progress bars belong there and not in a file."""
    return sys.stderr.isatty()


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
    show: bool | None = None,
    leave: bool = False,
) -> Any:
    """Return a tqdm progress bar.

    Args:
        iterable: to wrap; None for a bar that is updated by hand.
        total: steps, if the iterable has no length.
        desc: text in front of the bar.
        unit: of a step.
        show: whether to draw it; None draws it if stderr is a terminal.
        leave: keep the finished bar on the screen.
    """
    from tqdm import tqdm

    show = person_watches() if show is None else show
    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        disable=not show,
        leave=leave,
        dynamic_ncols=True,
        smoothing=0.1,
    )


def configure_logging(file: str | os.PathLike[str] | None = None) -> logging.Logger:
    """Send the log to stdout, and to `file` if it is given, and return the logger.

    stdout gets messages of level INFO and above, the file those of level DEBUG too. Handlers of an
    earlier call are closed, so that a process can run several experiments in turn.
    """
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        handler.close()
        LOGGER.removeHandler(handler)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    handlers[0].setLevel(logging.INFO)
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        LOGGER.addHandler(handler)
    return LOGGER


def format_as_line(text: str) -> str:
    """Return text as one line without control characters.

    Messages quote file names, table cells and other libraries' messages. These may hold colour
    codes, or codes that rewrite what the terminal already shows.
    """
    text = ESCAPE_CODES.sub("", " ".join(text.split()))
    return "".join(character if character.isprintable() else "?" for character in text)


def format_seconds(seconds: float) -> str:
    """Return a duration in words: '42 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
