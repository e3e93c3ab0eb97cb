"""The machine: cores, memory, and how threads wait for each other."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep soon while they wait for each other.

    The threads of a network meet thousands of times a second. Spinning for milliseconds, the usual
    rule, makes a step twenty times slower when another job has one of the cores. Spinning for a
    moment (GNU's libgomp counts turns) spares operations of a tenth of a millisecond the wait for a
    thread to wake. OpenMP reads this once, when torch is imported: call it before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def num_cores() -> int:
    """Return how many cores this process may use (a container often has fewer than the host)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_use(device: Any) -> str:
    """Return the most memory this process has held so far, and on its GPU where it has one."""
    import resource

    # Linux counts in KiB, macOS in bytes.
    unit = 2**30 if sys.platform == "darwin" else 2**20
    text = f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.1f} GiB"
    if device.type == "cuda":
        import torch

        text += f", on the GPU {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
    return text


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next step instead of handing it back.

    glibc maps each large block anew and the kernel clears it, gigabytes of it in every step of a
    network on a CPU. The peak of memory stays the same. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
