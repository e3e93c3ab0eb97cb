"""Transforms that move waveforms in time, all detectors together or each on its own.

Shifts are whole samples and per row. What leaves at one end either comes in at the other
(`GlobalTimeShift`, `AlignPhase`) or is replaced by zeros (`TimeShift`, `IndependentTimeShift`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from runtime.errors import UserError
from signal_transforms.base import WaveTransform
from signal_transforms.per_sample_operations import roll_rows


def shift_with_zeros(x: Tensor, shift: Tensor) -> Tensor:
    """Move each row `shift` samples later; what enters at the edge is zero."""
    # y[t] = x[t - shift] where that sample exists, zero elsewhere
    source = torch.arange(x.shape[-1], device=x.device) - shift
    inside = (source >= 0) & (source < x.shape[-1])
    return torch.where(inside, roll_rows(x, shift), 0.0)


class GlobalTimeShift(WaveTransform):
    """Roll a sample by a uniform time, all detectors together, around the end.

    The mergers lie near the end: most shifts tear the signal apart from what follows it.
    """

    moves_signal = True  # a merger time that is learnt would no longer be true

    def transform_rows(self, x: Tensor) -> Tensor:
        return roll_rows(x, torch.randint(x.shape[-1], (len(x), 1, 1), device=x.device))


class TimeShift(WaveTransform):
    """Shift a sample by a little, all detectors together; what enters at the edge is zero.

    Args:
        max_shift: largest shift in samples, either way; drawn uniformly for each row.
    """

    moves_signal = True

    def __init__(self, max_shift: int = 64, always_apply: bool = False, p: float = 0.5) -> None:
        super().__init__(always_apply, p)
        if max_shift < 0:
            raise UserError(f"TimeShift: max_shift = {max_shift} is negative")
        self.max_shift = max_shift

    def transform_rows(self, x: Tensor) -> Tensor:
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
    moves_signal = True

    def __init__(
        self, frame_limit: Sequence[int] = (-20, 20), always_apply: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(always_apply, p)
        if len(frame_limit) != 2 or frame_limit[0] > frame_limit[1]:
            raise UserError(
                f"IndependentTimeShift: frame_limit = {list(frame_limit)}: give least and largest"
            )
        self.frame_limit = tuple(frame_limit)

    def transform_rows(self, x: Tensor) -> Tensor:
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

    def transform_rows(self, x: Tensor) -> Tensor:
        size, limit = 2 * x.shape[-1], self.shift_limit
        if limit >= x.shape[-1]:
            raise UserError(f"AlignPhase: shift_limit = {limit} exceeds {x.shape[-1]} samples")
        with torch.autocast(x.device.type, enabled=False):
            # Unit peak, since products of raw strain underflow; the place of a maximum stays.
            scaled = x.float()
            scaled = scaled / scaled.abs().amax(dim=-1, keepdim=True).clamp_min(1e-37)
            spectrum = torch.fft.rfft(scaled, size)  # (batch, detector, time + 1)
            # correlation[d] = sum_t x_i[t] x_0[t + d]: rolling x_i by d brings it onto x_0
            correlation = torch.fft.irfft(spectrum.conj() * spectrum[:, :1], size)
        lags = torch.arange(-limit, limit + 1, device=x.device)
        best = correlation[..., lags % size].argmax(dim=-1, keepdim=True) - limit
        best[:, 0] = 0  # the first channel is what the others are aligned with
        # Correlation with silence is zero everywhere and has no maximum: such rows stay in place.
        silent = (x == 0).all(dim=-1, keepdim=True) | (x[:, :1] == 0).all(dim=-1, keepdim=True)
        return roll_rows(x, torch.where(silent, 0, best))
