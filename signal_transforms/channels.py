"""Transforms of whole detector channels: drop, swap, differences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from runtime.errors import UserError
from signal_transforms.base import WaveTransform
from signal_transforms.checks import check_channels


def choose_channels(name: str, x: Tensor, channels: Sequence[int], number: int) -> Tensor:
    """Draw `number` of `channels` for each row, without replacement: bool (batch, detector, 1)."""
    check_channels(name, channels, x)
    order = torch.rand(len(x), len(channels), device=x.device).argsort(dim=1).argsort(dim=1)
    chosen = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    chosen[:, list(channels)] = order < number  # ranks below `number` are a random subset
    return chosen[..., None]


class DropChannel(WaveTransform):
    """Set channels to zero.

    Args:
        channels: which.
        random: how many of them, drawn for each row; 0 for all.
    """

    def __init__(
        self,
        channels: Sequence[int] = (0,),
        random: int = 0,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if not 0 <= random <= len(channels):
            raise UserError(f"DropChannel: random = {random} of {len(channels)} channels")
        self.channels, self.random = list(channels), random

    def transform_rows(self, x: Tensor) -> Tensor:
        dropped = choose_channels(
            "DropChannel", x, self.channels, self.random or len(self.channels)
        )
        return torch.where(dropped, 0.0, x)


class SwapChannel(WaveTransform):
    """Exchange two channels: by default the two LIGO detectors, which have one noise curve.

    Args:
        channels: the two.
    """

    def __init__(
        self, channels: Sequence[int] = (0, 1), always_apply: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(always_apply, p)
        if len(channels) != 2:
            raise UserError(f"SwapChannel: channels = {list(channels)}: give two")
        self.channels = list(channels)

    def transform_rows(self, x: Tensor) -> Tensor:
        check_channels("SwapChannel", self.channels, x)
        order = list(range(x.shape[1]))
        first, second = self.channels
        order[first], order[second] = order[second], order[first]
        return x[:, order]


class GetDiff(WaveTransform):
    """Replace three channels by their differences: x1 - x0, x2 - x1, x0 - x2."""

    def __init__(self, always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)

    def transform_rows(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise UserError(f"GetDiff needs three channels and was given {x.shape[1]}")
        return x.roll(-1, dims=1) - x
