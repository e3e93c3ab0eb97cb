"""Signals that ask a run to stop: it saves a checkpoint and exits with 128 + the signal's number.

The signals are SIGTERM, Ctrl-C (SIGINT) and SIGUSR1, with which SLURM announces the end of a job.
A handler may run between any two Python instructions, so it only notes the signal; the training
loop looks between two steps. A second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1")
    if hasattr(signal, name)  # Windows has no SIGUSR1
)

noted: list[int] = []  # signals that have come, the first one first


class Interrupted(Exception):
    """A run that stopped because a signal asked for it.

    Args:
        saved: the checkpoint from which it can be resumed; None if nothing had to be saved.
    """

    def __init__(self, saved: Path | None = None) -> None:
        self.signal = signal.Signals(noted[0] if noted else signal.SIGTERM)
        self.exit_code = 128 + self.signal
        where = "nothing was under way that needs saving"
        if saved is not None:
            where = f"the state is saved in {saved}"
        super().__init__(f"stopped by {self.signal.name}: {where}; continue with --resume")


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Take note of the signals while the block runs.

    In another thread than the main one, as in a sweep or a notebook, Python cannot catch signals:
    they stay with the code that catches them there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted.clear()
    owner = os.getpid()

    def note(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a reader process, which its parent ends
            return
        if number == signal.SIGINT and number in noted:
            os._exit(128 + number)
        noted.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requested() -> bool:
    """Return whether a signal has asked this process to stop."""
    return bool(noted)
