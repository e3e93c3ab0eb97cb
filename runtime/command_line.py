"""What all command lines share: an error is one sentence on stderr and exit code 2."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from runtime.console import format_as_line
from runtime.errors import UserError, is_out_of_memory
from runtime.interruption import Interrupted
from runtime.machine import check_platform, let_waiting_threads_sleep

# Errors of a file or folder that the user named, and not of the program.
OF_A_PATH = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOSPC,
    errno.EDQUOT,
}
# Modules of the packages that pyproject.toml requires. Whoever runs another Python than that of
# the environment lacks them all, and is told so in a sentence.
REQUIRED = {
    *("torch", "timm", "nnAudio", "numpy", "pandas", "sklearn", "scipy", "threadpoolctl", "tqdm"),
    *("safetensors", "matplotlib", "tensorboard", "jinja2", "PIL"),
}


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run the `main` of a command line and exit.

    Exit codes: what `main` returns; 2 for a `UserError`, an error of a file or folder, a full
    memory or a required package that `main` finds missing, which is one line on stderr; 128 + the
    signal's number for a run that a signal stopped.

    Args:
        main: without arguments; returns the exit code, None for 0.
    """
    let_waiting_threads_sleep()
    try:
        check_platform()
        code = main()
    except UserError as error:
        print(f"error: {format_as_line(str(error))}", file=sys.stderr)
        code = 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        code = stop.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `train.py --list | head`: the program that read the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except ModuleNotFoundError as error:
        if error.name not in REQUIRED:
            raise
        print(f"error: {format_missing_package(error.name)}", file=sys.stderr)
        code = 2
    except (OSError, MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            print(f"error: {format_full_memory(error)}", file=sys.stderr)
            sys.exit(2)
        if not isinstance(error, OSError) or error.errno not in OF_A_PATH:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {format_as_line(what)}: name another file or folder", file=sys.stderr)
        code = 2
    sys.exit(code or 0)


def format_full_memory(error: BaseException) -> str:
    """Return a sentence for a command that ran out of memory and knows no better advice."""
    text = format_as_line(str(error)) or type(error).__name__
    return f"the memory is full ({text}): close other programs, or use a machine with more memory"


def format_missing_package(name: str) -> str:
    """Return a sentence for a Python without a package that all of the toolkit needs."""
    environment = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"
    used = Path(sys.prefix).resolve()  # the checkout may be reached through a link
    if environment.exists() and used != environment.parent.parent.resolve():
        return (
            f"{sys.executable} has no package {name}: run {environment} in place of it, or first "
            f"`source {environment.parent / 'activate'}`"
        )
    return (
        f"{sys.executable} has no package {name}: install all packages with `make install` in "
        f"{environment.parent.parent.parent}, or those of this Python with "
        f"`{sys.executable} -m pip install -e {environment.parent.parent.parent}`"
    )


class StoreAll(argparse.Action):
    """Store the values of an option; those of a list that is given twice add up."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        # The default is only there until the option is given, so it is replaced.
        if isinstance(values, list) and before is not self.default:
            values = [*before, *values]
        setattr(namespace, self.dest, values)


class CommandLine(argparse.ArgumentParser):
    """An argument parser of which every command of the project is made.

    Its errors are a `UserError`, one sentence like all others. `--set a=1 --set b=2` is
    `--set a=1 b=2`, and so for every option that takes a list: argparse alone drops the first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("action", None, StoreAll)  # of add_argument without an action

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: `python {self.prog} --help` shows what there is")
