"""Errors that the user can correct, and hints at what was meant."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence

# What torch's errors say of a full memory: its allocator on a CPU, CUDA, cuBLAS, cuDNN and cuFFT.
FULL_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)


class UserError(Exception):
    """An error that the user can correct.

    Its message is one sentence that names the file, key or id, what was expected, and what to do.
    A command prints it without a traceback and exits with code 2; a library call raises it.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the machine or of a GPU is full.

    Python and numpy raise a MemoryError, the system an OSError. torch raises a RuntimeError, which
    is an OutOfMemoryError where its own allocator finds no room on a GPU. Where a CPU, CUDA itself
    or one of CUDA's libraries does, it is known only by its message.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_torch = isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or any(s in str(error) for s in FULL_MEMORY)
    )
    return of_torch or isinstance(error, MemoryError)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the known name closest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def check_choice(owner: str, key: str, value: object, choices: Sequence[object]) -> None:
    """Check that a setting has one of the values that it may have.

    Args:
        owner: whose setting it is, e.g. the name of a class.
        key: its name.
        value: its value.
        choices: the values that it may have.

    Raises:
        UserError: it has another value; the message lists the choices.
    """
    if value not in choices:
        hint = nearest(value, [c for c in choices if isinstance(c, str)]) if value else ""
        raise UserError(
            f"{owner}: {key} = {value!r}{hint}: expected one of "
            + ", ".join(repr(choice) for choice in choices)
        )
