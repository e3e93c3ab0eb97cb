"""A command line in this process: seconds less than in one of its own, which imports torch anew."""

from __future__ import annotations

import contextlib
import functools
import io
import subprocess
from collections.abc import Callable, Sequence

from runtime.command_line import run_command


def run_main(
    main: Callable[[list[str]], int | None], arguments: Sequence[object]
) -> subprocess.CompletedProcess[str]:
    """Run the `main` of a command as its command line runs it.

    Returns:
        The exit code and what was printed on both streams, as `subprocess.run` returns them.
    """
    line = [str(argument) for argument in arguments]
    output, error, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            run_command(functools.partial(main, line))
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(line, code, output.getvalue(), error.getvalue())
