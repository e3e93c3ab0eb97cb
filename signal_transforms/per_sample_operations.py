"""Small operations on each row of a batch, shared by transforms and front-ends."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def peak_amplitude(x: Tensor) -> Tensor:
    """Return the largest absolute value of each row, (..., time) -> (..., 1)."""
    return x.abs().amax(dim=-1, keepdim=True)


def replace_zeros_by_one(divisor: Tensor) -> Tensor:
    """Return a divisor that is never zero, so that a silent row divided by it stays silent."""
    return torch.where(divisor == 0, torch.ones_like(divisor), divisor)


def roll_rows(x: Tensor, shift: Tensor) -> Tensor:
    """Move the last axis of each row later by its own number of samples, around the end.

    Args:
        x: (batch, ..., time).
        shift: integers of the same rank with a last axis of one, e.g. (batch, 1, 1). Axes of size
            one share a shift.
    """
    # y[t] = x[t - shift]. torch.roll takes one shift for all rows; gather takes one for each.
    time = torch.arange(x.shape[-1], device=x.device)
    return x.gather(-1, ((time - shift) % x.shape[-1]).expand_as(x))


def output_for_empty_batch(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a function's output, without rows, for a batch x without rows.

    Some FFT libraries refuse an empty batch. One row of zeros tells the shape of the output.
    """
    return function(x.new_zeros(1, *x.shape[1:]))[:0]
