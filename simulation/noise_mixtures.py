"""More noise out of some: orthogonal mixtures, which cost a sixth of drawing it afresh."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from runtime.float32 import full_precision

MIXED = 8  # stretches of which a mixture is made
MIXTURES_IN_CACHE = 32  # of 3 x 2,048 samples


@functools.lru_cache(maxsize=8)
def hadamard(device: torch.device) -> Tensor:
    """Return an orthogonal matrix (eight, eight) of elements of one size (Sylvester, 1867)."""
    turn = torch.ones(1, 1)
    while len(turn) < MIXED:
        turn = torch.kron(turn, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    return (turn / math.sqrt(MIXED)).to(device)


def orthogonal_mixtures(
    stretches: Tensor, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return new stretches of noise, each the sum of eight of those given, with random signs.

    Eight by eight, and none of them twice, the given stretches are turned by an orthogonal matrix.
    Independent Gaussian rows of one covariance stay just that, so that what one call returns has
    the law of noise drawn afresh. Two calls with the same stretches return rows that are
    uncorrelated but not independent: they share some of what they are made of. It is the method
    of Wallace, ACM Transactions on Mathematical Software 22, 119 (1996), at the price of some
    additions.

    Args:
        stretches: (rows, ...) float32, at least `count` rounded up to a multiple of eight.
        count: how many to return.
        generator: on the generator's own device; default torch's own.

    Returns:
        (count, ...).
    """
    device, groups = stretches.device, -(-count // MIXED)
    if groups * MIXED > len(stretches):
        raise ValueError(f"{count} mixtures need {groups * MIXED} stretches, not {len(stretches)}")
    order = torch.randperm(len(stretches), generator=generator, device=device)
    chosen = order[: groups * MIXED].view(groups, MIXED)  # (group, eight)
    signs = torch.randint(2, (groups, 1, MIXED), generator=generator, device=device)
    turns = hadamard(device) * (2 * signs - 1)  # (group, eight, eight)
    flat = stretches.flatten(1)  # (rows, ...) -> (rows, values)
    mixed = flat.new_empty(groups, MIXED, flat.shape[1])
    each = MIXTURES_IN_CACHE // MIXED if device.type == "cpu" else groups
    with full_precision(device.type):
        for part, some, rows in zip(
            turns.split(each), mixed.split(each), chosen.split(each), strict=True
        ):
            given = flat.index_select(0, rows.flatten())
            torch.bmm(part, given.view(-1, MIXED, flat.shape[1]), out=some)
    # (group, eight, values) -> (count, ...)
    return mixed.flatten(0, 1)[:count].view(count, *stretches.shape[1:])
