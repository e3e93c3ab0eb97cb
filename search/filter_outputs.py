"""The outputs of a bank's filters on a stretch of whitened strain, for one detector.

Times are counted in *ticks*, the arrival times of the bank: one every `stride` decimated samples.
All ticks of a stretch are filtered once, in bf16 where that is faster. Of the powers only a summary
of each template in each *block* of 31 ms is kept. The summaries of all detectors show in which
blocks a combination of detectors can matter at all. There, the outputs are computed again, in
float32, from the whitened strain, which is kept.

Memory, for an hour of one detector at 1,024 Hz: 15 MB of strain, and for each statistic 2 bytes a
block and template, 17 MB for 72 templates and 59 MB for 256.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models1d.strided_correlation import POLYPHASE, correlate_frames, make_frame_kernel
from models1d.template_outputs import combine_basis, of_quadratures
from runtime.float32_precision import full_precision
from search.spectral_whitening import WhitenedStrain

# In a longer block the loudest moments of two detectors need not coincide. Its bound is so much
# higher then that many more blocks are computed: with 0.125 s, slides take four times as long.
BLOCK_SECONDS = 1 / 32
TICKS_AT_A_TIME = 2**11  # filtered together; what they give stays in a core's cache
ROOM = 2**12  # ticks of silence before and after the strain, so that every cut lies within


@functools.cache
def fastest_type(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device multiplies matrices faster in it than in float32."""
    if device.type != "cpu":
        return torch.bfloat16
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        one = torch.ones(512, 512, dtype=dtype)
        one @ one  # the first product is slower
        start = time.perf_counter()
        for _ in range(3):
            one @ one
        seconds[dtype] = time.perf_counter() - start
    return min(seconds, key=seconds.get)


@dataclass(frozen=True, eq=False)
class FilterBank:
    """Filters of a bank in one detector.

    Attributes:
        filters: basis filters (basis, L).
        templates: two quadratures of each template in that basis, (template, 2, basis).
        before: samples of a filter before the merger.
        stride: samples between ticks.
    """

    filters: Tensor
    templates: Tensor
    before: int
    stride: int

    @property
    def length(self) -> int:
        """Samples of a filter."""
        return self.filters.shape[1]

    @functools.cached_property
    def kernel(self) -> Tensor:
        """The basis as `correlate_frames` takes it, float32."""
        return make_frame_kernel(self.filters, self.stride)

    @functools.cached_property
    def every_sample(self) -> Tensor:
        """The same at every sample."""
        return make_frame_kernel(self.filters, 1)

    def for_powers(self, weights: Tensor | None) -> Tensor:
        """Return combinations of the basis whose squares add up to the powers of templates.

        Args:
            weights: see `Summary`.

        Returns:
            (basis, 2 x template) or (basis, 2 K x template): p of all templates, then q, and so on
            of their further components, with the roots of the weights and of 1/2.
        """
        rows = self.templates[:, :2]  # (template, 2, basis)
        if weights is not None:
            rows = self.templates * of_quadratures(weights).sqrt()
        # (template, 2 K, basis) -> (2 K x template, basis)
        return (rows.transpose(0, 1).flatten(0, 1).T * math.sqrt(0.5)).contiguous()

    def matches(self, other: FilterBank) -> bool:
        """Whether two banks have the same outputs."""
        return (self.before, self.stride) == (other.before, other.stride) and all(
            one.shape == two.shape and torch.equal(one, two)
            for one, two in ((self.filters, other.filters), (self.templates, other.templates))
        )


@dataclass(frozen=True)
class Summary:
    """What is kept of the powers of some blocks.

    Attributes:
        of_powers: of powers (blocks, ticks of a block + 2 reach, template), with `reach` ticks
            before and after each block, returns what is kept, (blocks, template).
        weights: of the powers of a template's components, (template, K); None takes the power of
            the first component alone.
    """

    of_powers: Callable[[Tensor], Tensor]
    weights: Tensor | None = None


class DetectorOutputs:
    """What a bank's filters give on the strain of one detector.

    Args:
        white: whitened strain of the detector.
        bank: its filters.
        reach: ticks before and after a block that summaries are given as well.
        rate: of the whitened strain, Hz.
        device: to compute on.

    Attributes:
        ticks: how many there are.
        block: ticks of a block.
        usable: (ticks,) bool, whether the strain is usable all along a filter.
    """

    def __init__(
        self, white: WhitenedStrain, bank: FilterBank, reach: int, rate: float, device: torch.device
    ) -> None:
        self.bank, self.device, self.reach = bank, device, reach
        self.block = block_ticks(rate / bank.stride, reach)
        self.ticks = len(white.values) // bank.stride
        self.usable = usable_ticks(white.usable, bank, self.ticks)
        room = ROOM * bank.stride
        values = torch.from_numpy(white.values).to(device)
        self.strain = F.pad(values, (room + bank.before, room + bank.length))

    @torch.inference_mode()
    def summarise(self, summaries: Sequence[Summary]) -> list[Tensor]:
        """Filter all of the strain and return summaries of its powers.

        Powers are P = (p^2 + q^2) / 2, in bf16 wrong by up to two per cent.

        Returns:
            Each (template, blocks) float16.
        """
        bank, block, reach, dtype = self.bank, self.block, self.reach, fastest_type(self.device)
        blocks, templates = -(-self.ticks // block), len(bank.templates)
        kernel, strain = bank.kernel.to(dtype), self.strain.to(dtype)
        matrices = [bank.for_powers(summary.weights).to(dtype) for summary in summaries]
        # Statistics that weigh components alike share their powers.
        alike = [False, *map(torch.equal, matrices[1:], matrices[:-1])]
        kept = [
            torch.empty(blocks, templates, dtype=torch.half, device=self.device) for _ in summaries
        ]
        at_a_time = max(TICKS_AT_A_TIME // block, 1)  # blocks
        ticks = at_a_time * block + 2 * reach
        frames = -(-ticks * bank.stride // POLYPHASE)
        length = (frames - 1) * POLYPHASE + len(kernel)
        for done in range(0, blocks, at_a_time):
            start = self.sample_of(done * block - reach)
            cut = strain[start : start + length]
            cut = F.pad(cut, (0, length - len(cut)))
            on_basis = correlate_frames(cut[None], kernel, len(bank.filters))[0, :ticks]
            # (ticks, template) -> (blocks, block + 2 reach, template), overlapping views
            shape = (at_a_time, block + 2 * reach, templates)
            every = zip(kept, summaries, matrices, alike, strict=True)
            for array, summary, matrix, as_before in every:
                if not as_before:
                    power = powers_of(on_basis, matrix, templates)  # (ticks, template)
                    of_blocks = power.as_strided(shape, (block * templates, templates, 1))
                array[done : done + at_a_time] = summary.of_powers(of_blocks)[: blocks - done]
        return [array.T.contiguous() for array in kept]

    def sample_of(self, tick: int | Tensor) -> int | Tensor:
        """Return where in `strain` the filter of a tick begins."""
        return tick * self.bank.stride + ROOM * self.bank.stride

    def quadratures(self, first: Tensor, number: int) -> Tensor:
        """Return z of all templates at runs of ticks, in float32.

        Args:
            first: (B,) the first tick of each run, int64; before 0 and after the last tick there
                is silence.
            number: ticks of a run.

        Returns:
            (B, template, 2 K, number).
        """
        return self.filtered(self.sample_of(first), number, self.bank.kernel, self.bank.stride)

    def quadratures_at_samples(self, first: Tensor, number: int) -> Tensor:
        """Return the same at every decimated sample, from that of tick `first` on."""
        return self.filtered(self.sample_of(first), number, self.bank.every_sample, 1)

    def windows(self, first: Tensor, samples: int) -> Tensor:
        """Return windows of strain that begin where ticks lie, (B, samples).

        Args:
            first: (B,) ticks, int64.
            samples: of a window.
        """
        starts = self.sample_of(first) + self.bank.before
        return self.strain.unfold(0, samples, 1)[starts]

    def filtered(self, starts: Tensor, number: int, kernel: Tensor, stride: int) -> Tensor:
        """Return z at places `stride` samples apart: (B,) starts -> (B, template, 2 K, number)."""
        on_basis = self.on_basis(starts, number, kernel, len(self.bank.filters), stride)
        with full_precision(self.device.type):
            return combine_basis(on_basis, self.bank.templates)

    def on_basis(
        self, starts: Tensor, number: int, kernel: Tensor, channels: int, stride: int
    ) -> Tensor:
        """Return the outputs of any basis of filters at places `stride` samples apart.

        Args:
            starts: (B,) where in `strain` the filters of the first place begin.
            number: of places.
            kernel: of `make_frame_kernel`, float32.
            channels: filters of the basis.
            stride: samples between places, that of the kernel.

        Returns:
            (B, number, basis), float32.
        """
        frames = -(-number * stride // POLYPHASE)
        length = (frames - 1) * POLYPHASE + len(kernel)
        x = self.strain.unfold(0, length, 1)[starts]  # (B, length), a copy
        with full_precision(self.device.type):
            return correlate_frames(x, kernel, channels)[:, :number]


def powers_of(on_basis: Tensor, matrix: Tensor, templates: int) -> Tensor:
    """Return sums of squares: (ticks, basis) @ (basis, rows x template) -> (ticks, template)."""
    z = on_basis @ matrix
    z.square_()
    power = z[:, :templates] + z[:, templates : 2 * templates]
    for row in range(2 * templates, z.shape[1], templates):
        power += z[:, row : row + templates]
    return power


def block_ticks(tick_rate: float, reach: int) -> int:
    """Return the ticks of a block, at least `reach`."""
    return max(round(BLOCK_SECONDS * tick_rate), reach, 1)


def usable_ticks(usable: np.ndarray, bank: FilterBank, ticks: int) -> np.ndarray:
    """Return at which ticks the strain is usable from the first to the last sample of a filter."""
    bad = np.concatenate([[0], np.cumsum(~usable)])  # how many before a sample
    start = np.arange(ticks) * bank.stride - bank.before
    end = start + bank.length
    inside = (start >= 0) & (end <= len(usable))
    start, end = np.clip(start, 0, len(usable)), np.clip(end, 0, len(usable))
    return inside & (bad[end] == bad[start])
