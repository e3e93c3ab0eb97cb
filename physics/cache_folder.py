"""Files that are computed once and kept for later runs: where they lie and how they get there.

Matrices of whitening and of band-passes, corrections at a window's edges and waveform banks take
seconds to minutes to compute and up to some hundred MB of disk. They lie in one folder that all
runs of a user share, so several processes may write there at once, and any may be killed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from runtime.console import LOGGER
from runtime.files import TEMPORARY, atomic_path
from runtime.locks import try_lock

# Only what this module writes is cleaned up: others may keep files of their own in the folder.
KEPT = ("waveforms-", "whitening-", "templates-", "strain-", "band-pass-", "edges-")


def cache_folder() -> Path:
    """Return where whitening matrices and waveforms are kept: $G2NET_CACHE or ~/.cache/g2net."""
    return Path(os.environ.get("G2NET_CACHE") or Path.home() / ".cache" / "g2net")


@contextlib.contextmanager
def kept_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file to keep; see `runtime.files.atomic_path`.

    The temporary file is locked while it is written. The lock ends with the process, however it
    ends, so that `remove_abandoned` can tell a file under work from one that nobody finishes.
    """
    with contextlib.ExitStack() as stack, atomic_path(path) as temporary:
        stack.callback(os.close, create_locked(temporary))
        yield temporary
        # The lock is released here, after the rename: until then the file may not be removed.


def create_locked(path: Path) -> int:
    """Create an empty file, lock it, and return its descriptor; closing that frees the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try_lock(descriptor, wait=True)
        # Between creation and lock another process may have taken the file for an abandoned one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove what killed processes left half written in the folder of kept files.

    Files that a living process writes are locked and stay. On a file system without locks all
    stay, because nothing tells the two apart there.

    Returns:
        The files that were removed.
    """
    pattern = re.compile(rf"\.({'|'.join(KEPT)}).*{TEMPORARY}")
    removed = []
    for path in sorted(folder.glob(".*")):
        if not pattern.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:  # finished or removed in the meantime, or another user's
            continue
        try:
            # Between listing and lock its writer may have finished it: then the name is gone.
            if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                path.unlink()
                removed.append(path)
        except OSError:  # in use, or finished in the meantime
            continue
        finally:
            os.close(descriptor)
    if removed:
        LOGGER.info("removed %d unfinished files of killed runs from %s", len(removed), folder)
    return removed
