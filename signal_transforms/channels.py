"""Transforms of whole detector channels: silence some, exchange two, subtract neighbours.

The strain is (batch, detector, time). Channels are chosen by buffers and slices and never by a
Python list: a list as an index of a CUDA tensor is copied to the device in every step, and the
host waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.base import WaveTransform
from signal_transforms.checks import check_channels


def draw_channel_mask(name: str, x: Tensor, channels: Sequence[int], number: int) -> Tensor:
    """Draw `number` of `channels` for each row, without replacement.

    Returns:
        bool (batch, detector, 1), true for the channels that were drawn.

    Raises:
        UserError: x has no such channel.
    """
    check_channels(name, channels, x)
    # The rank of each channel among random numbers is a random permutation (argsort of an argsort
    # gives ranks), so the ranks below `number` are a random subset of that size.
    rank = torch.rand(len(x), len(channels), device=x.device).argsort(dim=1).argsort(dim=1)
    mask = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)  # (batch, detector)
    for i, channel in enumerate(channels):
        mask[:, channel] = rank[:, i] < number
    return mask[..., None]


class DropChannel(WaveTransform):
    """Set channels to zero, as if those detectors were off.

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
        number = self.random or len(self.channels)  # 0 stands for all
        dropped = draw_channel_mask("DropChannel", x, self.channels, number)
        return torch.where(dropped, 0.0, x)


class SwapChannel(WaveTransform):
    """Exchange two channels: by default the first two detectors that have the same noise curve.

    In the competition these are the two LIGO detectors.

    Args:
        channels: the two; None chooses them by the observation.
        observation: whose detectors these are; an experiment gives its own.

    Raises:
        UserError: not two channels; or none are given, and no two detectors have the same curve.
    """

    def __init__(
        self,
        channels: Sequence[int] | None = None,
        always_apply: bool = False,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        if channels is None:
            pairs = observation.alike_pairs()
            if not pairs:
                raise UserError(
                    f"SwapChannel: no two detectors of the observation ({observation}) have the "
                    "same noise curve: leave it out, or say which channels to exchange"
                )
            channels = pairs[0]
        if len(channels) != 2:
            raise UserError(f"SwapChannel: channels = {list(channels)}: give two")
        self.channels = list(channels)

    def transform_rows(self, x: Tensor) -> Tensor:
        check_channels("SwapChannel", self.channels, x)
        first, second = self.channels
        y = x.clone()
        y[:, first], y[:, second] = x[:, second], x[:, first]
        return y


class GetDiff(WaveTransform):
    """Replace channels by differences to the next: x1 - x0, x2 - x1 and, of three, x0 - x2."""

    def __init__(self, always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)

    def transform_rows(self, x: Tensor) -> Tensor:
        if x.shape[1] < 2:
            raise UserError(f"GetDiff needs two channels or more and was given {x.shape[1]}")
        # rolled by one, channel i holds x[i + 1], and the last one x[0]
        return x.roll(-1, dims=1) - x
