"""Lookahead around any optimiser (Zhang et al. 2019, arXiv:1907.08610), timm's."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from runtime.errors import UserError


@dataclass(frozen=True)
class Lookahead:
    """Slow weights that follow those of the optimiser: every `k` steps by a share of the way.

    Args:
        k: steps of the optimiser between two of the slow weights.
        alpha: share of the way that the slow weights go; the optimiser continues from there.

    Raises:
        UserError: no step, or a share outside (0, 1].
    """

    k: int = 6
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.alpha <= 1:
            raise UserError(
                f"Lookahead: k = {self.k}, alpha = {self.alpha}: expected 1 step or more, and a "
                f"share above 0 and up to 1"
            )

    def around(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return an optimiser that steps this one. Its state dict holds the slow weights too."""
        from timm.optim import Lookahead as Wrapper  # only here, as it is slow to import

        return Wrapper(optimizer, alpha=self.alpha, k=self.k)
