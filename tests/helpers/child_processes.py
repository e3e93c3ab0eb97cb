"""Commands in real processes of their own, forked so that they need not import torch again."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import time
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

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until some text has been printed."""
        deadline = time.monotonic() + seconds
        while text not in self.read():
            assert time.monotonic() < deadline, f"{text!r} never came: {self.read()}"
            assert os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None, (
                f"it ended without {text!r}: {self.read()}"
            )
            time.sleep(0.005)

    def read(self) -> str:
        """Return what has been printed so far."""
        return self.output.read_text() if self.output.exists() else ""

    def kill_after(self, seconds: float) -> bool:
        """Let it end by itself, or kill it after some seconds; return whether it was killed.

        Raises:
            RuntimeError: it ended with an error.
        """
        deadline = time.monotonic() + seconds
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        code, said = self.wait()
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"it ended with {code}: {said}")
        return code != 0


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


def run_ranks(
    main: Callable[[list[str]], int | None], arguments: Sequence[str], folder: Path, ranks: int = 2
) -> list[tuple[int, str]]:
    """Run a command as one job of several processes of torch.distributed.

    Each has the environment that torchrun would give it. That torchrun itself starts a run and ends
    its processes is tested where it matters; it has to import torch once more for each of them.

    Args:
        folder: for what they print.

    Returns:
        Exit code and output of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}

    def of_rank(rank: int) -> Callable[[], object]:
        names = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        return functools.partial(os.environ.update, job | names)

    children = [
        start(main, arguments, folder / f"output{rank}", of_rank(rank)) for rank in range(ranks)
    ]
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
