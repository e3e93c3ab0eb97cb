"""What the training pass of an epoch leaves for its scores: losses, logits and targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training import distributed
from training.gradient_record import GradientRecord


class EpochRecord:
    """Losses and scored rows of the epoch so far, of this process.

    They stay on the device: reading one would make the host wait for the GPU.

    Attributes:
        losses: the mean loss of each batch, a scalar.
        rows: how many rows each of these means is of.
        outputs: one pair a scored batch: logits (B, 1) and targets (B, 1), in float32.
        gradients: how large they were in each optimiser step.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.rows: list[int] = []
        self.outputs: list[tuple[Tensor, Tensor]] = []
        self.gradients = GradientRecord()

    def add(self, loss: Tensor, logits: Tensor, target: Tensor | None) -> None:
        """Add a batch; without a target (mixed rows) only its loss."""
        self.losses.append(loss.detach().float())
        self.rows.append(len(logits))
        if target is not None:
            self.outputs.append((logits.detach().float(), target.detach()))

    def gather_losses(self) -> tuple[Tensor, Tensor]:
        """Return losses and rows of all batches, (processes, steps) each, on the CPU.

        All processes must call it at once. It waits for a GPU, once an epoch.
        """
        losses, rows = distributed.gather_rows(torch.stack(self.losses), torch.tensor(self.rows))
        # (processes * steps,) -> (processes, steps): all have as many batches
        shape = (distributed.world_size(), -1)
        return losses.reshape(shape), rows.reshape(shape)

    def scored_rows(self) -> tuple[Tensor, Tensor] | None:
        """Return logits and targets of all processes, (n, 1) each; None where none are scored."""
        if not self.outputs:
            return None
        logits, targets = (torch.cat(part) for part in zip(*self.outputs, strict=True))
        logits, targets = distributed.gather_rows(logits, targets)
        finite = logits.isfinite().flatten(1).all(1)  # (n, 1) -> (n,)
        return logits[finite], targets[finite]

    def to_checkpoint(self) -> tuple[Any, ...]:
        """Return losses (n,), pairs of logits and targets, rows, and gradients, on the CPU."""
        losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0)
        outputs = [(logits.cpu(), targets.cpu()) for logits, targets in self.outputs]
        return losses, outputs, self.rows, self.gradients.to_checkpoint()

    @classmethod
    def from_checkpoint(cls, content: Any, device: torch.device) -> EpochRecord:
        losses, outputs, *younger = content
        record = cls()
        record.losses = list(losses.to(device))
        record.outputs = [(logits.to(device), targets.to(device)) for logits, targets in outputs]
        # Earlier checkpoints have no rows; their losses count alike.
        record.rows = list(younger[0]) if younger else [1] * len(record.losses)
        if len(younger) > 1:
            record.gradients = GradientRecord.from_checkpoint(younger[1], device)
        return record


def mean_over_rows(losses: Tensor, rows: Tensor) -> float:
    """Return the mean loss over all rows of batches.

    Args:
        losses, rows: of the batches, in the same shape: their mean losses, and of how many rows.
    """
    # The batches that were left out of the training are left out here.
    finite = losses.isfinite()
    losses, rows = losses[finite], rows[finite]
    # Batches differ in size, so that a mean of their means would not be the mean over rows.
    return ((losses * rows).sum() / rows.sum()).item()
