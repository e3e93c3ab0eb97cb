"""Errors of a device as sentences: a full memory, operations that are not deterministic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from configuration.config_class import ConfigMeta
from runtime.errors import UserError, is_out_of_memory
from training.checkpoints import first_line


@contextlib.contextmanager
def explains_device(config: ConfigMeta, device: torch.device) -> Iterator[None]:
    """Turn torch's errors of a device into sentences that say what to change.

    Raises:
        UserError: its memory is full, or it has no deterministic way to compute something.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if is_out_of_memory(error):
            raise UserError(explain_full_memory(config, device, error)) from error
        what, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise UserError(
            f"deterministic = True: {what} of {config.__name__} sums in another order each time on "
            f"{device}: leave it False there, or train on a CPU"
        ) from error


def explain_full_memory(config: ConfigMeta, device: torch.device, error: Exception) -> str:
    """Return which settings need less memory, and continue this run with --resume."""
    size = config.batch_size
    text = f"the memory of {device} does not hold batches of {size} ({first_line(error)}): "
    if size == 1:
        return (
            f"{text}use a smaller network or smaller images, in a folder of its own (--set name=…)"
        )
    # The largest divisor, so that smaller batches with more accumulation make the same step.
    smaller = max(part for part in range(1, size // 2 + 1) if size % part == 0)
    return (
        f"{text}continue with --resume --set batch_size={smaller} "
        f"accumulate={size // smaller * config.accumulate}, which learns from as many rows a step"
    )
