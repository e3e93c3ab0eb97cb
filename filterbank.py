"""The magnitude of a complex filter bank, at a stride, in the frequency domain.

y[f, m] = sum_k x[stride m + k] kernel_f[k],  m = 0 .. frames - 1

is a cross-correlation: Y = X P with P[f, w] = sum_k kernel_f[k] exp(+i w k). Keeping every
stride-th sample of y adds up the `stride` parts of its spectrum (aliasing), so that the inverse
transforms have 1 / stride of the length. A filter is narrow: where P is below `NEGLIGIBLE` of its
peak the product is not formed. The result equals the direct convolution, not an approximation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from filters import full_precision

MANY_PARTS = 16  # stride from which the folding is done by matrix products
NEGLIGIBLE = 1e-8  # of a filter's peak; below what float32 resolves
ROWS_TOGETHER = 32  # filters that share one range of frequencies
# Complex numbers worked on at a time; on a CPU, by each core. There, some waveforms times
# `ROWS_TOGETHER` filters fit the cache: the spectra of a whole batch do not, and take longer.
CHUNK = {"cpu": 2**18, "cuda": 2**26}


class Band(NamedTuple):
    """Filters `rows`, whose product with the spectrum is formed at some frequencies only."""

    rows: slice
    pieces: tuple[tuple[slice, slice], ...]  # of the full spectrum, and where it folds to


def transform_length(reach: int, stride: int) -> int:
    """Return the length of the full transform: a multiple of `stride`, fast, at least `reach`.

    Args:
        reach: number of samples that a circular correlation must tell apart.
        stride: decimation.
    """
    from scipy.fft import next_fast_len

    frames = -(-reach // stride)
    # Powers of two with one small odd factor are the fastest that FFT libraries have.
    candidates = [odd * 2**power for odd in (1, 3, 5) for power in range(1, 24)]
    smooth = min(size for size in candidates if size >= frames)
    return stride * min(smooth, next_fast_len(frames) if smooth > 1.15 * frames else smooth)


def whole_plan(num_filters: int, size: int, stride: int) -> tuple[Band, ...]:
    """Return the plan that forms every product; it asks nothing of the bank's values."""
    folded = size // stride
    pieces = tuple(
        (slice(part * folded, (part + 1) * folded), slice(0, folded)) for part in range(stride)
    )
    return (Band(slice(0, num_filters), pieces),)


def banded_plan(bank: Tensor, stride: int) -> tuple[Band, ...]:
    """Return the plan that leaves out what is negligible in `bank` (filter, size)."""
    num_filters, size = bank.shape
    folded = size // stride
    strength = bank.abs()
    matters = (strength > NEGLIGIBLE * strength.amax(dim=1, keepdim=True)).cpu()
    bands = []
    for start in range(0, num_filters, ROWS_TOGETHER):
        rows = slice(start, min(start + ROWS_TOGETHER, num_filters))
        at = matters[rows].any(dim=0).nonzero().flatten()
        first, last = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
        pieces = []
        while first < last:  # cut at the multiples of the folded length
            part = first // folded
            stop = min(last, (part + 1) * folded)
            pieces.append((slice(first, stop), slice(first - part * folded, stop - part * folded)))
            first = stop
        bands.append(Band(rows, tuple(pieces)))
    return tuple(bands)


class Correlator:
    """Computes correlations at a stride, some rows and the filters of one band at a time.

    Its buffers are written over by every call.

    Args:
        bank: (filter, size) complex.
        plan: from `banded_plan` or `whole_plan`.
        stride: samples between frames.
        rows: largest number of rows at a time.
    """

    def __init__(self, bank: Tensor, plan: tuple[Band, ...], stride: int, rows: int) -> None:
        self.bank, self.stride = bank, stride
        self.folded = bank.shape[1] // stride
        filters = max(band.rows.stop - band.rows.start for band in plan)
        self.product = bank.new_empty(rows, filters, self.folded)
        self.result = torch.empty_like(self.product)
        if stride >= MANY_PARTS:
            # (filter, size) -> (folded, part, filter)
            self.parts = bank.reshape(len(bank), stride, self.folded).permute(2, 1, 0).contiguous()

    def __call__(self, spectrum: Tensor, band: Band) -> Tensor:
        """Return y (rows, filters of the band, folded) for spectra (rows, size)."""
        rows, filters = len(spectrum), band.rows.stop - band.rows.start
        # one block of memory whatever the shape, as the transform wants it
        shape = (rows, filters, self.folded)
        product = self.product.view(-1)[: math.prod(shape)].view(shape)
        result = self.result.view(-1)[: math.prod(shape)].view(shape)
        if self.stride >= MANY_PARTS:
            # One small matrix product a folded frequency, instead of very many short sums.
            parts = spectrum.reshape(rows, self.stride, self.folded).permute(2, 0, 1)
            with full_precision(spectrum.device.type):
                product.copy_(torch.bmm(parts, self.parts[:, :, band.rows]).permute(1, 2, 0))
        else:
            product.zero_()
            for full, fold in band.pieces:
                product[:, :, fold].addcmul_(spectrum[:, None, full], self.bank[band.rows, full])
        return torch.fft.ifft(product, out=result)


class Magnitude(torch.autograd.Function):
    """|y| of the module's first formula, some rows and filters at a time.

    The backward pass computes y again instead of keeping it, so that memory stays that of the
    result. Where y is zero the gradient is taken as zero.
    """

    @staticmethod
    def forward(ctx, x: Tensor, bank: Tensor, plan: tuple, stride: int, frames: int) -> Tensor:
        """Take x (rows, length) and bank (filter, size), real or complex, of one precision."""
        ctx.save_for_backward(x, bank)
        ctx.plan, ctx.stride, ctx.frames = plan, stride, frames
        size = bank.shape[1]
        # A peak of one, lest the squares underflow for raw strain; 1 / stride is from the folding.
        peak = unit_peak(x)
        spectrum = torch.fft.fft(x / peak, size)
        scale = (peak / stride)[..., None]  # (rows, 1, 1)
        step = rows_at_a_time(bank, plan, stride, len(x))
        correlator = Correlator(bank.to(spectrum.dtype), plan, stride, step)
        out = x.new_empty(len(x), len(bank), frames)
        for part in parts_of(len(x), step):
            for band in plan:
                y = torch.view_as_real(correlator(spectrum[part], band)[..., :frames])
                tile = out[part, band.rows]
                # By squares: abs() of a complex tensor is twice as slow on a CPU.
                torch.mul(y[..., 0], y[..., 0], out=tile)
                tile.addcmul_(y[..., 1], y[..., 1]).sqrt_().mul_(scale[part])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, bank = ctx.saved_tensors
        stride, size = ctx.stride, bank.shape[1]
        folded = size // stride
        peak = unit_peak(x)
        spectrum = torch.fft.fft(x / peak, size)
        true_spectrum = spectrum * (peak / stride)
        complex_bank = bank.to(spectrum.dtype)
        bank_gradient = torch.zeros_like(complex_bank) if ctx.needs_input_grad[1] else None
        spectrum_gradient = torch.zeros_like(spectrum) if ctx.needs_input_grad[0] else None
        step = rows_at_a_time(bank, ctx.plan, stride, len(x))
        correlator = Correlator(complex_bank, ctx.plan, stride, step)
        for part in parts_of(len(x), step):
            for band in ctx.plan:
                y = correlator(spectrum[part], band)[..., : ctx.frames]
                power = torch.view_as_real(y).square()
                power = (power[..., 0] + power[..., 1]).clamp_min_(torch.finfo(x.dtype).tiny)
                # y / |y|, and zero where y is
                y = y * power.rsqrt_().mul_(gradient[part, band.rows])
                # the adjoint of the inverse transform and of the cut to `frames`
                product = torch.fft.fft(y, folded, norm="forward")  # (rows, filters, folded)
                for full, fold in band.pieces:
                    piece = product[:, :, fold]  # (rows, filters, width)
                    if bank_gradient is not None:
                        at_rows = true_spectrum[part, None, full].conj()
                        bank_gradient[band.rows, full] += (at_rows * piece).sum(dim=0)
                    if spectrum_gradient is not None:
                        filters = complex_bank[band.rows, full].conj()
                        spectrum_gradient[part, full] += (filters * piece).sum(dim=1)
        if bank_gradient is not None and not bank.is_complex():
            bank_gradient = bank_gradient.real
        x_gradient = None
        if spectrum_gradient is not None:
            # the adjoint of fft(x / stride, size) for a real x
            x_gradient = torch.fft.ifft(spectrum_gradient).real[:, : x.shape[1]] * (size / stride)
        return x_gradient, bank_gradient, None, None, None


def unit_peak(x: Tensor) -> Tensor:
    """Return the largest absolute value of each row, (rows, length) to (rows, 1), never zero."""
    return x.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def rows_at_a_time(bank: Tensor, plan: tuple[Band, ...], stride: int, rows: int) -> int:
    """Return how many rows to work on, so that one band of them is of `CHUNK` numbers."""
    filters = max(band.rows.stop - band.rows.start for band in plan)
    each = filters * bank.shape[1] // stride
    budget = CHUNK.get(bank.device.type, CHUNK["cuda"])
    if bank.device.type == "cpu":
        budget *= torch.get_num_threads()  # each core has a cache of its own
    return min(rows, max(1, budget // each))


def parts_of(rows: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, rows, step)] if rows else []


def magnitude(x: Tensor, bank: Tensor, plan: tuple[Band, ...], stride: int, frames: int) -> Tensor:
    """Return |y[f, m]| of the formula above, for m = 0 .. frames - 1.

    Args:
        x: (..., length), real.
        bank: (filter, size) transforms of the kernels, real where the kernel is Hermitian; `size`
            is a multiple of the stride and large enough that nothing wraps around.
        plan: from `banded_plan` or `whole_plan`.
        stride: samples between frames.
        frames: number of them, at most size / stride.

    Returns:
        (..., filter, frames), float64 where x is, float32 otherwise.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        bank = bank.to(dtype.to_complex() if bank.is_complex() else dtype)
        rows = x.reshape(-1, x.shape[-1]).to(dtype)  # (rows, length)
        out = Magnitude.apply(rows, bank, plan, stride, frames)
    return out.reshape(*x.shape[:-1], len(bank), frames)
