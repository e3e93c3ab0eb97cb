"""How large the gradients of an epoch were before clipping, and how many steps were clipped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GradientSize:
    """The gradients of one optimiser step, on their device.

    Attributes:
        norm: 2-norm of all of them together, before clipping; a scalar.
        clipped: whether any was changed; a scalar of bool.
    """

    norm: Tensor
    clipped: Tensor


class GradientRecord:
    """Sizes of the gradients of an epoch so far.

    They stay on the device: reading one would make the host wait for the GPU. Processes share their
    gradients, so that each records the same.
    """

    def __init__(self) -> None:
        self.norms: list[Tensor] = []
        self.clipped: list[Tensor] = []

    def add(self, size: GradientSize) -> None:
        self.norms.append(size.norm.detach().float())
        self.clipped.append(size.clipped.detach())

    def scores(self) -> dict[str, float]:
        """Return the median norm and the share of clipped steps; NaN of an epoch without a step.

        The median, as one outlier would decide a mean. Steps with an infinite gradient, which fp16
        skips, are left out.
        """
        if not self.norms:
            return {"gradient_norm": math.nan, "clipped_steps": math.nan}
        norms, clipped = torch.stack(self.norms).cpu(), torch.stack(self.clipped).cpu()
        finite = norms.isfinite()
        if not finite.any():
            return {"gradient_norm": math.nan, "clipped_steps": math.nan}
        return {
            "gradient_norm": norms[finite].median().item(),
            "clipped_steps": clipped[finite].float().mean().item(),
        }

    def to_checkpoint(self) -> tuple[Tensor, Tensor]:
        """Return norms (n,) and whether each step was clipped (n,), on the CPU."""
        if not self.norms:
            return torch.empty(0), torch.empty(0, dtype=torch.bool)
        return torch.stack(self.norms).cpu(), torch.stack(self.clipped).cpu()

    @classmethod
    def from_checkpoint(
        cls, content: tuple[Tensor, Tensor], device: torch.device
    ) -> GradientRecord:
        record = cls()
        record.norms, record.clipped = (list(part.to(device)) for part in content)
        return record


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the 2-norm of all gradients together, a scalar; 0 where there is none."""
    gradients = gradients_of(parameters)
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm(gradients)
    return torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]))


def largest_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the largest absolute value of all gradients, a scalar; 0 where there is none."""
    gradients = gradients_of(parameters)
    if not gradients:
        return torch.zeros(())
    # Unlike a sum of squares it cannot overflow by itself.
    largest = torch._foreach_norm(gradients, float("inf"))
    return torch.stack([value.float() for value in largest]).max()


def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Any]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
