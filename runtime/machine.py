"""The machine: its platform, cores and memory, and how threads wait for each other.

Importing this file changes nothing; commands call its functions when they start.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

from runtime.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def let_waiting_threads_sleep() -> None:
    """Make OpenMP's threads sleep soon while they wait for each other.

    The threads that compute a network wait for each other thousands of times a second. By default
    they spin for milliseconds, which makes a step twenty times slower when another job uses one of
    the cores. A short spin (GNU's libgomp counts turns) remains, because waking a thread takes as
    long as an operation of a tenth of a millisecond.

    OpenMP reads these variables once, when torch is imported: call this before. Values that the
    user has set are kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def check_platform() -> None:
    """Refuse Windows, whose files cannot be locked or replaced as this project does it.

    Raises:
        UserError: the platform is Windows.
    """
    if sys.platform == "win32":
        raise UserError(
            "Windows is not supported: use Linux, macOS or, on Windows, the Windows Subsystem for "
            "Linux (wsl --install)"
        )


def num_cores() -> int:
    """Return how many cores this process may use; in a container often fewer than the host has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_use(device: Any) -> str:
    """Return a text with the peak of this process's memory, and of its GPU memory if it has one.

    Args:
        device: torch's device that the process computes on.
    """
    import resource

    # Linux counts in KiB, macOS in bytes.
    unit = 2**30 if sys.platform == "darwin" else 2**20
    text = f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.1f} GiB"
    if device.type == "cuda":
        import torch

        text += f", on the GPU {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
    return text


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next step instead of returning it.

    By default glibc asks the kernel for each large block, and the kernel clears it: gigabytes in
    every step of a network on a CPU. Kept memory is reused as it is, and the peak of memory stays
    the same. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
