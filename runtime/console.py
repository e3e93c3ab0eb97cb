"""What a person sees while a command runs: the log, progress bars, durations."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("g2net")


def person_watches() -> bool:
    """Whether stderr is a terminal, so that bars are drawn for a person and not into a file."""
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
    """Return a tqdm bar; shown when a person watches, unless `show` says otherwise."""
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
    """Send the log to stdout and, where named, to `file` as well, which also takes the details."""
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


def format_seconds(seconds: float) -> str:
    """Return a duration as a person would say it: '42 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
