"""The magnitude of a filter bank that depends on one number, and its derivative by that number.

The gradient of one number is one number. It does not need the gradient of every kernel, nor a
Fourier transform of the gradient of every filtered waveform: the derivative of the magnitudes is
the same correlation with the derivative of the kernels, formed in the forward pass while the
spectra are in the caches, and the backward pass is one scalar product with it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spectrograms.filterbank import (
    LEAST,
    Correlator,
    FilterGroup,
    rows_at_a_time,
    slices_of_rows,
    sum_pairs,
    unit_peak,
)


class MagnitudeOfNumber(torch.autograd.Function):
    """|y| of a real bank P that depends on a number w; see `filterbank` for y.

    With P' = dP/dw in place of P the same correlation gives y' = dy/dw, and

        d|y|/dw = Re(conj(y) y') / |y|,    zero where y is.
    """

    @staticmethod
    def forward(
        ctx,
        number: Tensor,
        x: Tensor,
        bank: Tensor,
        slopes: Tensor,
        plan: tuple,
        stride: int,
        frames: int,
    ) -> Tensor:
        """Take w (), x (rows, length), P and P' (filter, size) of one precision."""
        peak = unit_peak(x)
        spectrum = torch.fft.fft(x / peak, bank.shape[1])
        scale = (peak / stride)[..., None]  # (rows, 1, 1)
        step = max(rows_at_a_time(bank, plan, stride, len(x)) // 2, 1)  # for either correlator
        correlate = Correlator(bank, plan, stride, step)
        correlate_slopes = Correlator(slopes, plan, stride, step)
        out = x.new_empty(len(x), len(bank), frames)
        derivative = torch.empty_like(out)
        for band in plan:
            for part in slices_of_rows(len(x), step):
                # complex (rows, filters, frames) -> real (rows, filters, 2 frames)
                y = torch.view_as_real(correlate(spectrum[part], band)[..., :frames]).flatten(2)
                slope = torch.view_as_real(correlate_slopes(spectrum[part], band)[..., :frames])
                product = slope.flatten(2).mul_(y)
                tile, change = out[part, band.rows], derivative[part, band.rows]
                # Where y is zero, no division by zero; `scale` makes such a magnitude nothing.
                sum_pairs(y.mul_(y), out=tile).clamp_min_(LEAST**2).sqrt_()
                sum_pairs(product, out=change).div_(tile).mul_(scale[part])
                tile.mul_(scale[part])
        ctx.save_for_backward(derivative, number)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        derivative, number = ctx.saved_tensors
        # A row's product in float32, as BLAS sums it, and their sum in float64.
        # (rows, filter, frame) -> (rows, filter x frame)
        rows = zip(gradient.flatten(1), derivative.flatten(1), strict=True)
        total = torch.stack([torch.dot(one, other) for one, other in rows]).double().sum()
        return total.to(number.dtype), None, None, None, None, None, None


def magnitude_of_number(
    number: Tensor,
    x: Tensor,
    bank: Tensor,
    slopes: Tensor,
    plan: tuple[FilterGroup, ...],
    stride: int,
    frames: int,
) -> Tensor:
    """Return `filterbank.correlation_magnitude`, whose gradient is that of a number alone.

    Args:
        number: what the bank depends on, ().
        x: (..., length), real, without a gradient.
        bank: (filter, size), real.
        slopes: its derivative by the number, of the same shape.
        plan: from `banded_plan` or `whole_plan`.
        stride: samples between frames.
        frames: number of them.

    Returns:
        (..., filter, frames), float64 where x is, float32 otherwise.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        rows = x.reshape(-1, x.shape[-1]).to(dtype)  # (..., length) -> (rows, length)
        out = MagnitudeOfNumber.apply(
            number, rows, bank.to(dtype), slopes.to(dtype), plan, stride, frames
        )
    return out.reshape(*x.shape[:-1], len(bank), frames)  # (rows, f, m) -> (..., f, m)
