"""A step's own process: run within a time, stopped with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from benchmarks import ROOT

GRACE = 5.0  # s from the request to stop until it is ended; a training saves within it


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; negative of one that a signal ended.
        output: stdout and stderr together.
        seconds: that it ran.
        cut: whether its time was over.
    """

    code: int
    output: str
    seconds: float
    cut: bool

    @property
    def last_line(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self.code}"


@contextlib.contextmanager
def stopped_with_its_children() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that what it has started ends with it."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_process(line: Sequence[str], seconds: float, environment: Mapping[str, str]) -> Ended:
    """Run a command in the repository for at most so many seconds.

    Args:
        line: the command.
        seconds: after which it and its children are asked to stop, and `GRACE` later ended.
        environment: added to that of this process.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(line),
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to be stopped with all its children
        )
        cut = False
        try:
            process.wait(timeout=max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            cut = True
        finally:  # also where this process is interrupted
            stop_group(process)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    return Ended(process.returncode, text, time.monotonic() - started, cut)


def stop_group(process: subprocess.Popen) -> None:
    """Stop a process and its children, if any still run."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
