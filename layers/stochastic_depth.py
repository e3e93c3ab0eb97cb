"""Stochastic depth: whole residual branches are dropped at random, row by row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runtime.errors import UserError


class DropPath(nn.Module):
    """Drop a block's output for some rows in training: stochastic depth.

    Reference: Huang et al. 2016, arXiv:1603.09382. What is kept is scaled up, as in dropout.

    Args:
        p: probability that a row is dropped.

    Raises:
        UserError: not a probability below one.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"drop_path = {p}: expected a probability from 0 to below 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.p
        # Scaled so that the expectation over `keep` is x, as outside training.
        return x * keep / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
