"""Locks between processes: one writer for each run directory, fold, cache or temporary file.

A lock is an flock on an open file. The kernel frees it when the process ends, however it ends, so
a killed run never leaves a lock behind. All locks of the project are taken by `try_lock`, which
also knows file systems that have none (Lustre without the flock option, some NFS).

The file of `hold` exists for the lock alone and is never renamed: two processes that open one path
then always meet at one file. (A lock on a file that is renamed when it is finished protects
nothing: the second process may have opened it just before, and holds the finished file.) Where
the lock file is removed at the end, its users check that it is still in its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.console import LOGGER
from runtime.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: the command line says that it is not supported
    fcntl = None

# What flock raises on a file system without locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

held: set[int] = set()  # descriptors whose locks this process holds


def close_inherited_locks() -> None:
    """Close a forked process's copies of the descriptors in `held`.

    A lock lasts while any copy of its descriptor is open. A reader process may outlive a killed
    run by seconds, in which the run could not be started again.
    """
    for file in held:
        os.close(file)
    held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=close_inherited_locks)


def try_lock(file: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file for this process.

    Args:
        file: its descriptor; closing it frees the lock.
        shared: let other processes that ask for a shared lock hold it too.
        wait: wait for as long as another process holds it.

    Returns:
        True; False on a file system without locks, where nothing is locked.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is False.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


@contextlib.contextmanager
def hold(
    path: Path,
    shared: bool = False,
    wait: bool = False,
    busy: str | None = None,
    temporary: bool = False,
) -> Iterator[None]:
    """Hold the lock of a file while the block runs.

    On a file system without locks the block runs without one, and a warning is logged.

    Args:
        path: the lock file; created with its folder, and kept unless it is `temporary`.
        shared: let other processes that ask for a shared lock hold it too.
        wait: wait for as long as another process holds it: for what takes moments only.
        busy: what to say when another process holds it; by default that the folder is in use by
            another run. '{owner}' stands for that process.
        temporary: remove the lock file at the end. All users of such a file must say so: each
            then checks that the file it has locked is still the one at `path`.

    Raises:
        UserError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    held.add(file)
    try:
        try:
            locked = lock_with_patience(file, shared, wait)
            if temporary and not is_at(file, path):  # removed between opening and locking
                raise BlockingIOError
        except BlockingIOError as error:
            owner = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
            busy = busy or (
                f"{path.parent} is in use by another run ({{owner}}): wait for it, or give this "
                "one a folder of its own with --set name=…"
            )
            raise UserError(busy.replace("{owner}", owner)) from error
        if not locked:
            LOGGER.warning(f"{path.parent} is on a file system without locks: run one at a time")
        if not shared:
            # for the message to a process that is refused
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        try:
            yield
        finally:
            # While the lock is held, so that nobody can have locked the file in the meantime.
            if temporary and file in held and is_at(file, path):
                path.unlink()
    finally:
        if file in held:  # a forked process has closed its copy already
            held.remove(file)
            os.close(file)


def is_at(file: int, path: Path) -> bool:
    """Return whether an open file is the one that a path names."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def lock_with_patience(file: int, shared: bool, wait: bool) -> bool:
    """Call `try_lock` for up to a tenth of a second: `is_held` takes a lock for a moment."""
    for _ in range(10):
        try:
            return try_lock(file, shared=shared, wait=wait)
        except BlockingIOError:
            time.sleep(0.01)
    return try_lock(file, shared=shared, wait=wait)


def is_held(path: Path) -> bool:
    """Return whether another process holds the lock of a file."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        try_lock(file, shared=True)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextlib.contextmanager
def run_lock(folder: Path, fold: int | None = None) -> Iterator[None]:
    """Hold a run directory, whole or for one fold.

    Runs of different folds share the directory's lock and hold one of their fold each.

    Args:
        folder: the run directory.
        fold: the only fold that is trained; None holds the whole directory.

    Raises:
        UserError: another run holds it.
    """
    with hold(folder / ".lock", shared=fold is not None):
        if fold is None:
            yield
        else:
            with hold(folder / f".fold{fold}.lock"):
                yield
