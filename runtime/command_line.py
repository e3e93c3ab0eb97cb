"""What all command lines share: a mistake is one sentence on stderr and exit code 2."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from runtime.errors import UserError
from runtime.interruption import Interrupted
from runtime.machine import let_waiting_threads_sleep

# Errors that a file or folder is to blame for, and not the program.
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


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main`; a `UserError` becomes one line on stderr and exit code 2."""
    let_waiting_threads_sleep()
    try:
        code = main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        code = stop.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `train.py --list | head`: the reader has gone, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno not in OF_A_PATH:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {what}: name another file or folder", file=sys.stderr)
        code = 2
    sys.exit(code or 0)


class CommandLine(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: `python {self.prog} --help` shows what there is")
