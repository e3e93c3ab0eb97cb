"""Waveform transforms of channels and of time: drop, swap, shift and align."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from utils import UserError
from signal_transforms.base import WaveTransform


def check_channels(name: str, channels: Sequence[int], x: Tensor) -> None:
    """Check that the channels are there.

    Raises:
        UserError: one is not.
    """
    if not all(0 <= channel < x.shape[1] for channel in channels):
        raise UserError(f"{name}: channels {list(channels)} are not all among {x.shape[1]}")


def choose_channels(name: str, x: Tensor, channels: Sequence[int], number: int) -> Tensor:
    """Draw `number` of `channels` for each row, without replacement: bool (batch, detector, 1)."""
    check_channels(name, channels, x)
    order = torch.rand(len(x), len(channels), device=x.device).argsort(dim=1).argsort(dim=1)
    chosen = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    chosen[:, list(channels)] = order < number  # ranks below `number` are a random subset
    return chosen[..., None]


def roll(x: Tensor, shift: Tensor) -> Tensor:
    """Move each row `shift` samples later, around the end.

    Args:
        x: (batch, detector, time).
        shift: integers (batch, 1 or detector, 1).
    """
    time = torch.arange(x.shape[-1], device=x.device)
    return x.gather(-1, ((time - shift) % x.shape[-1]).expand_as(x))


def shift_with_zeros(x: Tensor, shift: Tensor) -> Tensor:
    """Move each row `shift` samples later; what enters at the edge is zero."""
    source = torch.arange(x.shape[-1], device=x.device) - shift
    inside = (source >= 0) & (source < x.shape[-1])
    return torch.where(inside, roll(x, shift), 0.0)


class DropChannel(WaveTransform):
    """Set channels to zero.

    Args:
        channels: which.
        random: how many of them, drawn for each row; 0 for all.
    """

    def __init__(
        self, channels: Sequence[int] = (0,), random: int = 0, always_apply: bool = True,
        p: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(always_apply, p)
        if not 0 <= random <= len(channels):
            raise UserError(f"DropChannel: random = {random} of {len(channels)} channels")
        self.channels, self.random = list(channels), random

    def change(self, x: Tensor) -> Tensor:
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

    def change(self, x: Tensor) -> Tensor:
        check_channels("SwapChannel", self.channels, x)
        order = list(range(x.shape[1]))
        first, second = self.channels
        order[first], order[second] = order[second], order[first]
        return x[:, order]


class GetDiff(WaveTransform):
    """Replace three channels by their differences: x1 - x0, x2 - x1, x0 - x2."""

    def __init__(self, always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)

    def change(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise UserError(f"GetDiff needs three channels and was given {x.shape[1]}")
        return x.roll(-1, dims=1) - x


class GlobalTimeShift(WaveTransform):
    """Roll a sample by a uniform time, all detectors together, around the end.

    The mergers lie near the end: most shifts tear the signal apart from what follows it.
    """

    def change(self, x: Tensor) -> Tensor:
        return roll(x, torch.randint(x.shape[-1], (len(x), 1, 1), device=x.device))


class TimeShift(WaveTransform):
    """Shift a sample by a little, all detectors together; what enters at the edge is zero.

    Args:
        max_shift: largest shift in samples, either way; drawn uniformly for each row.
    """

    def __init__(self, max_shift: int = 64, always_apply: bool = False, p: float = 0.5) -> None:
        super().__init__(always_apply, p)
        if max_shift < 0:
            raise UserError(f"TimeShift: max_shift = {max_shift} is negative")
        self.max_shift = max_shift

    def change(self, x: Tensor) -> Tensor:
        limit = self.max_shift
        shift = torch.randint(-limit, limit + 1, (len(x), 1, 1), device=x.device)
        return shift_with_zeros(x, shift)


class IndependentTimeShift(WaveTransform):
    """Shift each channel by an integer of its own; what enters at the edge is zero.

    Light needs 10 ms (20 samples) between the LIGO detectors.

    Args:
        frame_limit: least and largest shift in samples, both included.
    """

    per_channel = True

    def __init__(
        self, frame_limit: Sequence[int] = (-20, 20), always_apply: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(always_apply, p)
        if len(frame_limit) != 2 or frame_limit[0] > frame_limit[1]:
            raise UserError(
                f"IndependentTimeShift: frame_limit = {list(frame_limit)}: give least and largest"
            )
        self.frame_limit = tuple(frame_limit)

    def change(self, x: Tensor) -> Tensor:
        least, largest = self.frame_limit
        shift = torch.randint(least, largest + 1, (*x.shape[:2], 1), device=x.device)
        return shift_with_zeros(x, shift)


class AlignPhase(WaveTransform):
    """Roll every channel after the first to where its cross-correlation with the first is largest.

    Args:
        shift_limit: largest shift in samples, either way.
    """

    def __init__(self, shift_limit: int = 40, always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)
        if shift_limit < 0:
            raise UserError(f"AlignPhase: shift_limit = {shift_limit} is negative")
        self.shift_limit = shift_limit

    def change(self, x: Tensor) -> Tensor:
        size, limit = 2 * x.shape[-1], self.shift_limit
        if limit >= x.shape[-1]:
            raise UserError(f"AlignPhase: shift_limit = {limit} exceeds {x.shape[-1]} samples")
        with torch.autocast(x.device.type, enabled=False):
            scaled = x.float()
            scaled = scaled / scaled.abs().amax(dim=-1, keepdim=True).clamp_min(1e-37)
            spectrum = torch.fft.rfft(scaled, size)  # (batch, detector, time + 1)
            # correlation[d] = sum_t x_i[t] x_0[t + d]: rolling x_i by d brings it onto x_0
            correlation = torch.fft.irfft(spectrum.conj() * spectrum[:, :1], size)
        lags = torch.arange(-limit, limit + 1, device=x.device)
        best = correlation[..., lags % size].argmax(dim=-1, keepdim=True) - limit
        best[:, 0] = 0
        silent = (x == 0).all(dim=-1, keepdim=True) | (x[:, :1] == 0).all(dim=-1, keepdim=True)
        return roll(x, torch.where(silent, 0, best))
