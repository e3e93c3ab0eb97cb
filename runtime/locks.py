"""One run a folder: a lock that its process holds and that does not outlive it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.console import LOGGER
from runtime.errors import UserError

held: set[int] = set()  # the open files whose locks this process keeps


def let_go() -> None:
    """Close a forked process's copies of them.

    A lock lasts while any copy of its file is open, and a reader process may outlive a killed run
    by seconds in which the run could not be started again.
    """
    for file in held:
        os.close(file)
    held.clear()


os.register_at_fork(after_in_child=let_go)


@contextlib.contextmanager
def hold(path: Path, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file while the block runs; whatever ends the process frees it.

    Args:
        shared: let others that ask for a shared lock hold it as well.
        wait: wait for another that holds it, for what takes moments only.

    Raises:
        UserError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    held.add(file)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            take(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
            raise UserError(
                f"{path.parent} is in use by another run ({owner}): wait for it, or give this one "
                f"a folder of its own with --set name=…"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            LOGGER.warning(f"{path.parent} lies on a file system without locks: run one at a time")
        if not shared:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        if file in held:  # not in a forked process
            held.remove(file)
            os.close(file)


def take(file: int, kind: int) -> None:
    """Lock a file; refused, ask again for a tenth of a second: `is_held` takes it for a moment."""
    for _ in range(10):
        try:
            return fcntl.flock(file, kind)
        except BlockingIOError:
            time.sleep(0.01)
    return fcntl.flock(file, kind)


def is_held(path: Path) -> bool:
    """Whether another process holds the lock of a file."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(file)
    return False


@contextlib.contextmanager
def run_lock(folder: Path, fold: int | None = None) -> Iterator[None]:
    """Hold a results folder for a run, or for one fold of it beside runs of its other folds.

    Raises:
        UserError: another run holds it.
    """
    with hold(folder / ".lock", shared=fold is not None):
        if fold is None:
            yield
        else:
            with hold(folder / f".fold{fold}.lock"):
                yield
