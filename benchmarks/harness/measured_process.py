"""A command in a process of its own: its time, and the memory that it and its children take."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT
from runtime.errors import UserError

EVERY = 0.05  # s between two looks at the memory


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        megabytes: the most that it and its children held at once of memory of their own, without
            files that are mapped, which the system gives to others when they need it; None where
            the system does not say.
    """

    seconds: float
    megabytes: float | None


def own_bytes(pid: int) -> int | None:
    """Return the memory of a process that is no mapped file; None where it is gone or unknown."""
    found = None
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                found = (found or 0) + int(line.split()[1]) * 1024
    return found


def tree_of(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def run_measured(arguments: Sequence[str], folder: Path) -> Cost:
    """Run Python with these arguments and wait for its end.

    Args:
        arguments: of Python, e.g. a script of the repository and its own.
        folder: where what it prints is kept meanwhile.

    Raises:
        UserError: it failed.
    """
    with tempfile.TemporaryFile(dir=folder) as said:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=said, stderr=subprocess.STDOUT, cwd=ROOT
        )
        most = None
        while process.poll() is None:
            parts = [own_bytes(pid) for pid in tree_of(process.pid)]
            held = sum(part for part in parts if part is not None)
            # A process that has ended has no memory left to look at.
            most = max(most or 0, held) if held else most
            time.sleep(EVERY)
        seconds = time.monotonic() - started
        if process.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace")[-300:]
            raise UserError(f"{' '.join(arguments[:4])} failed: {text}")
    return Cost(seconds, None if most is None else most / 1e6)
