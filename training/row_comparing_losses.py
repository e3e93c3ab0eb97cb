"""Losses that compare rows with each other, under several processes and accumulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runtime.console import LOGGER
from training import distributed
from training.settings import Loading


class CriterionOfAllRows(nn.Module):
    """A criterion of the rows of all processes at once, for losses that are no mean over rows.

    Each process computes the same loss from all logits, and its gradient for its own rows; the sum
    over processes is the gradient of one process with all rows. The trainer weights a batch of n_i
    rows, on W processes, with W n_i / n and averages over processes (`weigh_batch`), as is right
    for the mean loss of n_i rows. Here the gradient of every process counts in full: with n_b rows
    in the batches of all processes, its factor is made W n_b / n.

    Args:
        criterion: (logits, target) -> scalar loss.
    """

    def __init__(self, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, logits: Tensor, targets: Tensor, *weights: Tensor) -> Tensor:
        """Return the loss of all processes' rows.

        Args:
            logits, targets: (B, 1) each, B of this process.
            weights: (B, 1), if the rows have any.
        """
        if not torch.is_grad_enabled():  # validation gathers all rows before it asks for a loss
            return self.criterion(logits, targets, *weights)
        all_logits = gather_with_gradient(logits)
        others = [gather_with_gradient(rows) for rows in (targets, *weights)]
        loss = self.criterion(all_logits, *others)
        return scale_gradient(loss, len(all_logits) / len(logits))


def scale_gradient(loss: Tensor, factor: float) -> Tensor:
    """Return a loss of the same value whose gradient is multiplied by a factor."""
    return loss * factor - loss.detach() * (factor - 1)


def gather_with_gradient(rows: Tensor) -> Tensor:
    """Concatenate every process's rows (B, ...); only this process's own have a gradient.

    The processes may hold different numbers of rows; all must call it at once.
    """
    sizes = distributed.gather_objects(len(rows))
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    parts[distributed.rank()] = rows
    return torch.cat(parts)


def check_mean_over_rows(criterion: Any, hook: Any, loading: Loading) -> Any:
    """Return the criterion to train with; warn of what an accumulation cannot compute.

    A loss that states `is_mean_over_rows = False` compares rows with each other. Of several
    processes it is computed over all rows. The batches of an accumulation are never in memory
    together, so that it compares only the rows within each.
    """
    processes = distributed.world_size()
    is_mean = getattr(criterion, "is_mean_over_rows", True)
    rows = loading.batch_size * processes
    if not is_mean and loading.accumulate > 1 and distributed.is_main():
        LOGGER.warning(
            f"{type(criterion).__name__} compares rows with each other: with accumulate = "
            f"{loading.accumulate} those within each batch of {rows}, not the "
            f"{rows * loading.accumulate} of an optimiser step"
        )
    has_parts = processes > 1 or loading.accumulate > 1
    if getattr(hook, "mixes_rows", False) and has_parts and distributed.is_main():
        LOGGER.info(
            f"{type(hook).__name__} mixes each row with another of the same batch and process, one "
            f"of {loading.batch_size}"
        )
    if not is_mean and processes > 1:
        return CriterionOfAllRows(criterion)
    return criterion
