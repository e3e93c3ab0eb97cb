"""Commands in real processes of their own, forked so that they need not import torch again."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import run_command


@dataclass
class Child:
    """A command that was started.

    Attributes:
        pid: its process.
        output: the file of what it prints, on both streams.
    """

    pid: int
    output: Path

    def wait(self) -> tuple[int, str]:
        """Return the exit code, -9 where it was killed, and what was printed."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code, self.output.read_text()


def start(
    main: Callable[[list[str]], int | None],
    arguments: Sequence[str],
    output: Path,
    before: Callable[[], object] = lambda: None,
) -> Child:
    """Start the `main` of a command in a forked process, as its command line would be started.

    Args:
        output: file for what it prints.
        before: called in the new process first, e.g. to limit its memory.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return Child(child, output)
    code = 1
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        before()
        run_command(functools.partial(main, list(arguments)))
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_at_once(
    main: Callable[[list[str]], int | None], lines: Sequence[Sequence[str]], folder: Path
) -> list[tuple[int, str]]:
    """Run several command lines of one command at the same time.

    They wait for one another before the first of them begins, so that none is done by then.

    Returns:
        Exit code and output of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()

    def wait_for_all() -> None:
        os.close(writing)
        os.read(reading, 1)  # returns when the last copy of the other end is closed

    children = [
        start(main, line, folder / f"output{number}", wait_for_all)
        for number, line in enumerate(lines)
    ]
    os.close(writing)
    os.close(reading)
    return [child.wait() for child in children]


def kill_when(event: str, is_the_moment: Callable[[str], bool]) -> None:
    """Let this process be killed when Python reports an event for a path of this kind.

    Args:
        event: of `sys.addaudithook`: "open" (for writing), or "os.rename", whose path is the new
            one.
        is_the_moment: called with the path, just before the event.
    """

    def look(name: str, arguments: tuple) -> None:
        if name != event:
            return
        path = arguments[1 if event == "os.rename" else 0]
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if isinstance(path, str | bytes | os.PathLike) and is_the_moment(os.fsdecode(path)):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
