"""The magnitude of a complex filter bank, at a stride, in the frequency domain.

y[f, m] = sum_k x[stride m + k] kernel_f[k],  m = 0 .. frames - 1

is a cross-correlation: Y = X P with P[f, w] = sum_k kernel_f[k] exp(+i w k). With N the length of
the transform and M = N / stride, keeping every stride-th sample of y gives the transform

    Y'[f, w] = (1 / stride) sum_j Y[f, w + j M],  j = 0 .. stride - 1,  w = 0 .. M - 1

(aliasing): the parts of the spectrum are added up and the inverse transforms have M instead of N
frequencies. A filter is narrow: where P is below `NEGLIGIBLE` of its
peak the product is not formed. The result equals the direct convolution, not an approximation.

At a large stride, kernels of very different lengths are convolved in time at less cost
(`direct_magnitude`): twenty periods at 1 kHz have a fiftieth of the samples of those at 20 Hz.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from runtime.float32_precision import full_precision

LEAST = 1e-18  # a magnitude, for waveforms of unit peak, that counts as zero: squares underflow
NEGLIGIBLE = 1e-8  # of a filter's peak; below what float32 resolves
SIMILAR = 1.6  # kernels whose lengths differ by less are convolved together
# Filters that share one range of frequencies, and complex numbers worked on at a time; on a CPU, by
# each core. There, the filters and some waveforms times their number fit the cache: the spectra of
# a whole batch do not, and take longer.
ROWS_TOGETHER = {"cpu": 16, "cuda": 32}
CHUNK = {"cpu": 2**18, "cuda": 2**26}


class FilterGroup(NamedTuple):
    """Filters `rows`, whose product with the spectrum is formed at some frequencies only."""

    rows: slice
    pieces: tuple[tuple[slice, slice], ...]  # of the full spectrum, and where it folds to


def transform_length(reach: int, stride: int) -> int:
    """Return the length of the full transform: a multiple of `stride`, fast, at least `reach`.

    Args:
        reach: number of samples that a circular correlation must tell apart.
        stride: decimation.
    """
    frames = -(-reach // stride)
    # Powers of two with one small odd factor are the fastest that FFT libraries have.
    candidates = [odd * 2**power for odd in (1, 3, 5) for power in range(1, 24)]
    smooth = min(size for size in candidates if size >= frames)
    if smooth > 1.15 * frames:
        from scipy.fft import next_fast_len  # only here, as it is slow to import

        smooth = min(smooth, next_fast_len(frames))
    return stride * smooth


def whole_plan(num_filters: int, size: int, stride: int) -> tuple[FilterGroup, ...]:
    """Return the plan that forms every product; it asks nothing of the bank's values."""
    folded = size // stride
    pieces = tuple(
        (slice(part * folded, (part + 1) * folded), slice(0, folded)) for part in range(stride)
    )
    return (FilterGroup(slice(0, num_filters), pieces),)


def banded_plan(bank: Tensor, stride: int) -> tuple[FilterGroup, ...]:
    """Return the plan that leaves out what is negligible in `bank` (filter, size)."""
    num_filters, size = bank.shape
    folded = size // stride
    strength = bank.abs()
    matters = (strength > NEGLIGIBLE * strength.amax(dim=1, keepdim=True)).cpu()
    bands = []
    together = ROWS_TOGETHER.get(bank.device.type, ROWS_TOGETHER["cuda"])
    for start in range(0, num_filters, together):
        rows = slice(start, min(start + together, num_filters))
        at = matters[rows].any(dim=0).nonzero().flatten()
        first, last = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
        pieces = []
        while first < last:  # cut at the multiples of the folded length
            part = first // folded
            stop = min(last, (part + 1) * folded)
            pieces.append((slice(first, stop), slice(first - part * folded, stop - part * folded)))
            first = stop
        # the longest first, which is written where the others are added
        pieces.sort(key=lambda piece: piece[0].start - piece[0].stop)
        bands.append(FilterGroup(rows, tuple(pieces)))
    return tuple(bands)


class Correlator:
    """Computes correlations at a stride, some rows and the filters of one band at a time.

    Its buffers are written over by every call.

    Args:
        bank: (filter, size), real or complex.
        plan: from `banded_plan` or `whole_plan`.
        stride: samples between frames.
        rows: largest number of rows at a time.
    """

    def __init__(self, bank: Tensor, plan: tuple[FilterGroup, ...], stride: int, rows: int) -> None:
        self.stride = stride
        self.folded = bank.shape[1] // stride
        self.bank = bank if bank.is_complex() else repeat_for_pairs(bank)
        filters = max(band.rows.stop - band.rows.start for band in plan)
        complex_dtype = bank.dtype if bank.is_complex() else bank.dtype.to_complex()
        self.product = bank.new_empty(rows, filters, self.folded, dtype=complex_dtype)
        self.result = torch.empty_like(self.product)

    def __call__(self, spectrum: Tensor, band: FilterGroup) -> Tensor:
        """Return y (rows, filters of the band, folded) for spectra (rows, size)."""
        # one block of memory whatever the shape, as the transform wants it
        shape = (len(spectrum), band.rows.stop - band.rows.start, self.folded)
        product = self.product.view(-1)[: math.prod(shape)].view(shape)
        result = self.result.view(-1)[: math.prod(shape)].view(shape)
        into, out_of, pieces = product, spectrum, band.pieces
        if not self.bank.is_complex():  # products of real numbers, which a CPU does faster
            # complex (..., size) -> real (..., 2 size)
            into, out_of = torch.view_as_real(product).flatten(2), view_as_pairs(spectrum)
            pieces = [slices_of_pairs(piece) for piece in pieces]
        # What the first piece covers is written, the rest is zero, and the other pieces are added.
        covered = pieces[0][1] if pieces else slice(0, 0)
        into[:, :, : covered.start].zero_()
        into[:, :, covered.stop :].zero_()
        for i, (full, fold) in enumerate(pieces):
            x, filters = out_of[:, None, full], self.bank[band.rows, full]
            if i == 0:
                torch.mul(x, filters, out=into[:, :, fold])
            else:
                into[:, :, fold].addcmul_(x, filters)
        return torch.fft.ifft(product, out=result)


def repeat_for_pairs(bank: Tensor) -> Tensor:
    """Repeat each value for a real and an imaginary part: (filter, size) to (filter, 2 size)."""
    return bank.repeat_interleave(2, dim=1)


def view_as_pairs(x: Tensor) -> Tensor:
    """View complex (..., size) as real (..., 2 size)."""
    return torch.view_as_real(x).flatten(-2)


def sum_pairs(pairs: Tensor, out: Tensor) -> Tensor:
    """Write the sums of neighbours into `out`, and return it: (..., 2 size) to (..., size)."""
    return torch.add(pairs[..., 0::2], pairs[..., 1::2], out=out)


def slices_of_pairs(piece: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return the slices of complex numbers as slices of their real and imaginary parts."""
    full, fold = piece
    return slice(2 * full.start, 2 * full.stop), slice(2 * fold.start, 2 * fold.stop)


class CorrelationMagnitude(torch.autograd.Function):
    """|y| of the module's first formula, some rows and filters at a time.

    Backward: with g the gradient of |y|, that of y is u = g y / |y| (zero where y is zero). The
    cut to `frames`, the inverse transform and the folding are linear; their adjoints are padding
    with zeros, a forward transform U, and repeating U `stride` times. So, summed over the rows,

        dP[f, w] = sum_rows conj(X[w]) U[f, w mod M],    dX[w] = sum_f conj(P[f, w]) U[f, w mod M],

    with the 1 / stride of the folding taken into X. Where there is a gradient, y is kept for the
    backward pass: twice the memory of the result.
    """

    @staticmethod
    def forward(ctx, x: Tensor, bank: Tensor, plan: tuple, stride: int, frames: int) -> Tensor:
        """Take x (rows, length) and bank (filter, size), real or complex, of one precision."""
        size = bank.shape[1]
        # Unit peak, since squares of raw strain underflow. The factor 1 / stride of the folding and
        # the peak are put back by `scale`.
        peak = unit_peak(x)
        spectrum = torch.fft.fft(x / peak, size)
        scale = (peak / stride)[..., None]  # (rows, 1, 1)
        step = rows_at_a_time(bank, plan, stride, len(x))
        correlator = Correlator(bank, plan, stride, step)
        out = x.new_empty(len(x), len(bank), frames)
        kept = spectrum.new_empty(out.shape) if any(ctx.needs_input_grad) else None
        # The bands outside: the filters of one stay in the caches.
        for band in plan:
            for part in slices_of_rows(len(x), step):
                y = correlator(spectrum[part], band)[..., :frames]
                if kept is not None:
                    kept[part, band.rows] = y
                # By squares: abs() of a complex tensor takes several times as long on a CPU.
                # complex (rows, filters, frames) -> real (rows, filters, 2 frames)
                pairs = torch.view_as_real(y).flatten(2)
                tile = out[part, band.rows]
                sum_pairs(pairs.mul_(pairs), out=tile).sqrt_().mul_(scale[part])
        if kept is not None:
            ctx.save_for_backward(x, bank, out, kept)
            ctx.plan, ctx.stride = plan, stride
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, bank, out, kept = ctx.saved_tensors
        stride, size = ctx.stride, bank.shape[1]
        folded = size // stride
        # `kept` is y of rows of unit peak and without 1 / stride; so is out / scale.
        peak = unit_peak(x)
        scale = (peak / stride)[..., None]  # (rows, 1, 1)
        spectrum = torch.fft.fft(x / stride, size)
        bank_gradient = torch.zeros_like(bank) if ctx.needs_input_grad[1] else None
        spectrum_gradient = torch.zeros_like(spectrum) if ctx.needs_input_grad[0] else None
        real_bank = None if bank.is_complex() else repeat_for_pairs(bank)
        step = rows_at_a_time(bank, ctx.plan, stride, len(x))
        for part in slices_of_rows(len(x), step):
            for band in ctx.plan:
                # u = g y / |y|; the clamp makes it zero where y is zero
                size_of_y = (out[part, band.rows] / scale[part]).clamp_min_(LEAST)
                y = kept[part, band.rows] * size_of_y.reciprocal_().mul_(gradient[part, band.rows])
                # U: fft pads with zeros to M; norm="forward" gives the 1 / M of the inverse
                product = torch.fft.fft(y, folded, norm="forward")  # (rows, filters, folded)
                for full, fold in band.pieces:
                    piece = product[:, :, fold]  # (rows, filters, width)
                    if bank_gradient is not None and real_bank is None:
                        at_rows = spectrum[part, None, full].conj()
                        bank_gradient[band.rows, full] += (at_rows * piece).sum(dim=0)
                    elif bank_gradient is not None:
                        # real part of conj(X) product: real by real plus imaginary by imaginary
                        both = view_as_pairs(spectrum[part, full])[:, None] * view_as_pairs(piece)
                        bank_gradient[band.rows, full] += (
                            both.sum(dim=0).unflatten(-1, (-1, 2)).sum(-1)
                        )  # (filters, 2 width) -> (filters, width)
                    if spectrum_gradient is not None:
                        filters = bank[band.rows, full].conj()
                        spectrum_gradient[part, full] += (filters * piece).sum(dim=1)
        x_gradient = None
        if spectrum_gradient is not None:
            # Adjoint of fft(x / stride, size) for a real x: the real part of the unnormalised
            # inverse transform (size times ifft), cut to the length of x.
            x_gradient = torch.fft.ifft(spectrum_gradient).real[:, : x.shape[1]] * (size / stride)
        return x_gradient, bank_gradient, None, None, None


def unit_peak(x: Tensor) -> Tensor:
    """Return the largest absolute value of each row, (rows, length) to (rows, 1), never zero."""
    return x.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def rows_at_a_time(bank: Tensor, plan: tuple[FilterGroup, ...], stride: int, rows: int) -> int:
    """Return how many rows to work on, so that one band of them is of `CHUNK` numbers."""
    filters = max(band.rows.stop - band.rows.start for band in plan)
    each = filters * bank.shape[1] // stride
    budget = CHUNK.get(bank.device.type, CHUNK["cuda"])
    if bank.device.type == "cpu":
        budget *= torch.get_num_threads()  # each core has a cache of its own
    return min(rows, max(1, budget // each))


def slices_of_rows(rows: int, step: int) -> list[slice]:
    """Return slices of at most `step` rows that together cover all rows."""
    return [slice(start, start + step) for start in range(0, rows, step)] if rows else []


def correlation_magnitude(
    x: Tensor, bank: Tensor, plan: tuple[FilterGroup, ...], stride: int, frames: int
) -> Tensor:
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
    # Half precision has neither the range nor the digits for spectra.
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        bank = bank.to(dtype.to_complex() if bank.is_complex() else dtype)
        rows = x.reshape(-1, x.shape[-1]).to(dtype)  # (..., length) -> (rows, length)
        out = CorrelationMagnitude.apply(rows, bank, plan, stride, frames)
    return out.reshape(*x.shape[:-1], len(bank), frames)  # (rows, f, m) -> (..., f, m)


class KernelGroup(NamedTuple):
    """Kernels of like lengths, for `direct_magnitude`."""

    rows: slice
    first: int  # the sample at which they begin
    weights: Tensor  # (2 filters, 1, samples): their real, then their imaginary parts


def kernels_by_length(kernels: Tensor, like: Tensor) -> tuple[KernelGroup, ...]:
    """Cut the zeros at the ends of kernels off; neighbours of similar length form a group.

    Args:
        kernels: (filter, length) complex, the longest supports at either end of the list.
        like: gives the device and the precision.
    """
    matters = (kernels != 0).cpu()
    ends = [(int(at[0]), int(at[-1]) + 1) for at in (row.nonzero().flatten() for row in matters)]
    # Within a group every kernel is as long as the longest, so a group ends where a length would
    # differ from another by more than the factor SIMILAR.
    groups, start = [], 0
    for row in range(1, len(ends) + 1):
        lengths = [last - first for first, last in ends[start : row + 1]]
        if row < len(ends) and max(lengths) < SIMILAR * min(lengths):
            continue
        first, last = min(end[0] for end in ends[start:row]), max(end[1] for end in ends[start:row])
        cut = kernels[start:row, None, first:last]
        weights = torch.cat([cut.real, cut.imag]).to(like.device, like.dtype)
        groups.append(KernelGroup(slice(start, row), first, weights))
        start = row
    return tuple(groups)


def direct_magnitude(
    x: Tensor, groups: tuple[KernelGroup, ...], stride: int, frames: int
) -> Tensor:
    """Return |y[f, m]| of the module's first formula, by convolution.

    Where y is zero the gradient is taken as zero.

    Args:
        x: (..., length), real, long enough for every frame.
        groups: from `kernels_by_length`.
        stride: samples between frames.
        frames: number of them.

    Returns:
        (..., filter, frames) in the precision of x.
    """
    rows = x.reshape(-1, x.shape[-1])  # (rows, length)
    peak = unit_peak(rows.detach())[:, None]  # (rows, 1, 1)
    # Squares of raw strain underflow, so that each row is brought to a peak of one and back.
    rows = rows[:, None] / peak  # (rows, 1, length)
    tiles = []
    with full_precision(x.device.type):
        for _, first, weights in groups:
            stop = first + (frames - 1) * stride + weights.shape[2]
            y = nn.functional.conv1d(rows[..., first:stop], weights, stride=stride)
            real, imaginary = y.chunk(2, dim=1)  # (rows, filters, frames) each
            tiles.append(real.square().addcmul_(imaginary, imaginary))
    # The square root has an infinite slope at zero: silence would have a gradient of NaN.
    power = torch.cat(tiles, dim=1).clamp_min(LEAST**2)
    return (power.sqrt() * peak).reshape(*x.shape[:-1], -1, frames)  # (rows, ...) to (..., ...)
