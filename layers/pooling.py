"""Pooling that torch lacks: generalised means over images and series.

A generalised mean lies between the average (p = 1) and the maximum (p to infinity); p is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runtime.errors import check_choice


class GeM(nn.Module):
    """Generalised-mean pooling (mean of max(x, ε)^p)^(1/p) with a learned p.

    Reference: Radenović et al. 2019, arXiv:1711.02512, equation 3. p = 1 is the average, p → ∞
    the maximum. Computed in float32, as a half-precision x³ overflows from x = 41.

    Args:
        p: where p starts.
        eps: ε, the floor that keeps powers and their gradients finite.
        dims: axes that are averaged, (-2, -1) for images and (-1,) for series.
        keepdim: keep those axes with size 1.
    """

    def __init__(
        self,
        p: float = 3.0,
        eps: float = 1e-6,
        dims: Sequence[int] = (-2, -1),
        keepdim: bool = False,
    ) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))
        self.eps, self.dims, self.keepdim = float(eps), tuple(dims), keepdim

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C) with the default axes."""
        with torch.autocast(x.device.type, enabled=False):
            # The floor ε keeps the gradient of x^p with respect to p, x^p log x, finite at zero.
            powers = x.float().clamp(min=self.eps).pow(self.p)
            return powers.mean(self.dims, keepdim=self.keepdim).pow(1.0 / self.p).to(x.dtype)

    def extra_repr(self) -> str:
        return f"eps={self.eps}, dims={self.dims}"


class GeMPool1d(nn.Module):
    """Generalised-mean pooling over windows of time: (B, C, T) -> (B, C, T // kernel_size)."""

    def __init__(self, kernel_size: int, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)]))
        self.kernel_size, self.eps = kernel_size, float(eps)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            powers = x.float().clamp(min=self.eps).pow(self.p)
            return F.avg_pool1d(powers, self.kernel_size).pow(1.0 / self.p).to(x.dtype)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, eps={self.eps}"


class GlobalPool1d(nn.Module):
    """Pools a series over time: (B, C, T) -> (B, C), or (B, 2C) for 'concat' (maximum, average).

    Raises:
        UserError: an unknown kind.
    """

    KINDS = ("avg", "max", "concat", "gem")

    def __init__(self, kind: str = "avg") -> None:
        super().__init__()
        check_choice("GlobalPool1d", "pooling", kind, self.KINDS)
        self.kind = kind
        self.gem = GeM(dims=(-1,)) if kind == "gem" else None

    def width(self, channels: int) -> int:
        """Return how many features `channels` channels become."""
        return 2 * channels if self.kind == "concat" else channels

    def forward(self, x: Tensor) -> Tensor:
        if self.gem is not None:
            return self.gem(x)
        if self.kind == "avg":
            return x.mean(-1)
        if self.kind == "max":
            return x.amax(-1)
        return torch.cat([x.amax(-1), x.mean(-1)], dim=1)  # 2 × (B, C) -> (B, 2C)

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}"
