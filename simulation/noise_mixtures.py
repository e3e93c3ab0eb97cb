"""New noise made of drawn noise: orthogonal mixtures, at a sixth of the cost of drawing it."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from runtime.float32_precision import full_precision

MIXED = 8  # stretches that a mixture is made of
MIXTURES_IN_CACHE = 32  # that fit a CPU's caches, of 3 x 2,048 samples each


@functools.lru_cache(maxsize=8)
def hadamard_matrix(device: torch.device) -> Tensor:
    """Return an orthogonal (8, 8) matrix whose elements are all 1 or -1 over sqrt(8).

    Sylvester's construction (1867): from H, the matrix [[H, H], [H, -H]] of twice the size.
    """
    signs = torch.ones(1, 1)
    while len(signs) < MIXED:
        signs = torch.kron(signs, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    return (signs / math.sqrt(MIXED)).to(device)


def orthogonal_mixtures(
    stretches: Tensor, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return new stretches of noise, each a sum of eight of those given with random signs.

    The given stretches are put into random groups of eight, and each group x (8, values) becomes
    y = Q x with an orthogonal matrix Q = H diag(signs). If the rows of x are independent and
    Gaussian with covariance C, the covariance of rows i and j of y is
    sum_k Q_ik Q_jk C = delta_ij C: the rows of y are again independent, of the same law. No
    stretch is in two groups, so this holds for all that one call returns. Two calls with the same
    stretches return rows that are uncorrelated (the signs are random) but not independent.

    Reference: Wallace, ACM Transactions on Mathematical Software 22, 119 (1996).

    Args:
        stretches: (rows, ...) float32, at least `count` rounded up to a multiple of eight.
        count: how many to return.
        generator: on the device of the stretches; default torch's own.

    Returns:
        (count, ...).

    Raises:
        ValueError: there are too few stretches.
    """
    device, groups = stretches.device, -(-count // MIXED)
    if groups * MIXED > len(stretches):
        raise ValueError(f"{count} mixtures need {groups * MIXED} stretches, not {len(stretches)}")
    order = torch.randperm(len(stretches), generator=generator, device=device)
    members = order[: groups * MIXED].view(groups, MIXED)  # numbers of stretches
    signs = torch.randint(2, (groups, 1, MIXED), generator=generator, device=device)  # 0 or 1
    q = hadamard_matrix(device) * (2 * signs - 1)  # (group, 8, 8)
    values = stretches.flatten(1)  # (rows, ...) -> (rows, values)
    mixed = values.new_empty(groups, MIXED, values.shape[1])
    # On a CPU some groups at a time, so that reading and writing them stays in its caches.
    groups_at_a_time = MIXTURES_IN_CACHE // MIXED if device.type == "cpu" else groups
    with full_precision(device.type):
        for q_part, mixed_part, members_part in zip(
            q.split(groups_at_a_time),
            mixed.split(groups_at_a_time),
            members.split(groups_at_a_time),
            strict=True,
        ):
            # (groups x 8, values) -> (groups, 8, values)
            x = values.index_select(0, members_part.flatten()).view(-1, MIXED, values.shape[1])
            torch.bmm(q_part, x, out=mixed_part)
    # (group, 8, values) -> (count, values) -> (count, ...)
    return mixed.flatten(0, 1)[:count].view(count, *stretches.shape[1:])
