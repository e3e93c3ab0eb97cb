"""What the training pass of an epoch leaves for its scores: losses, logits and targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training import distributed


class EpochRecord:
    """Losses and scored rows of the epoch so far, of this process.

    They stay on the device: reading one would make the host wait for the GPU.

    Attributes:
        losses: one scalar a batch.
        outputs: one pair a scored batch: logits (B, 1) and targets (B, 1), in float32.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.outputs: list[tuple[Tensor, Tensor]] = []

    def add(self, loss: Tensor, logits: Tensor, target: Tensor | None) -> None:
        """Add a batch; without a target (mixed rows) only its loss."""
        self.losses.append(loss.detach().float())
        if target is not None:
            self.outputs.append((logits.detach().float(), target.detach()))

    def mean_loss(self) -> float:
        """Return the mean of the finite losses of all processes; all must call it at once."""
        (losses,) = distributed.gather_rows(torch.stack(self.losses))
        # The batches that were left out of the training are left out here.
        return losses[losses.isfinite()].mean().item()

    def scored_rows(self) -> tuple[Tensor, Tensor] | None:
        """Return logits and targets of all processes, (n, 1) each; None where none are scored."""
        if not self.outputs:
            return None
        logits, targets = (torch.cat(part) for part in zip(*self.outputs, strict=True))
        logits, targets = distributed.gather_rows(logits, targets)
        finite = logits.isfinite().flatten(1).all(1)  # (n, 1) -> (n,)
        return logits[finite], targets[finite]

    def to_checkpoint(self) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return losses (n,) and pairs of logits and targets, on the CPU."""
        losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0)
        return losses, [(logits.cpu(), targets.cpu()) for logits, targets in self.outputs]

    @classmethod
    def from_checkpoint(cls, content: Any, device: torch.device) -> EpochRecord:
        losses, outputs = content
        record = cls()
        record.losses = list(losses.to(device))
        record.outputs = [(logits.to(device), targets.to(device)) for logits, targets in outputs]
        return record
