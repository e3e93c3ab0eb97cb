"""Pools of signals and noise that training steps share, counted so that a run can be resumed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from data.batch_order import IndexBatch
from runtime.seeds import counted_seed
from simulation.fresh_binaries import RenewedBank
from simulation.noise_mixtures import MIXED
from simulation.unit_signals import UnitSignals

# Signals drawn together: as many as fit a CPU's caches with their transforms, raw or whitened.
RAW_AT_A_TIME = {"cpu": 32, "cuda": 1024}
WHITE_AT_A_TIME = {"cpu": 128, "cuda": 1024}
NOISE_AT_A_TIME = 64  # raw noise is cut out of stretches of four times the length

# Returns a number of rows, drawn with a generator.
DrawRows = Callable[[int, torch.Generator], Tensor]


def counted_generator(device: torch.device, *counters: int | str) -> torch.Generator:
    """Return a generator on a device whose seed depends on all counters."""
    generator = torch.Generator(device)
    generator.manual_seed(counted_seed(*counters, "simulated"))
    return generator


class SignalPool(NamedTuple):
    """Signals and noise that several steps draw from."""

    signals: Tensor  # (signal, detector, time), of network SNR 1
    noise: Tensor | None  # (stretch, detector, time); None if every step draws its own
    psd_numbers: Tensor | None  # (signal, detector) of the noise; None if rows do not differ
    snr: Tensor | None = None  # (signal,) at their distance; None if every step draws its own
    known: Mapping[str, Tensor] | None = None  # (signal,) each: what side targets may ask for


class SignalPools:
    """The pools of a run, one after another; the last one is kept.

    Args:
        signals: draws signals of network SNR 1.
        size: signals of a pool, if a batch does not need more.
        reuse: how often a signal is used.
        draw_psd_numbers: draws the PSDs of signals, (count, detector); None if all have the design
            curves.
        draw_noise: draws stretches of noise that may be mixed; None if every step draws its own.
        renewed: the bank of the signals, where every new pool brings new binaries; else None.
    """

    def __init__(
        self,
        signals: UnitSignals,
        size: int,
        reuse: int,
        draw_psd_numbers: DrawRows | None = None,
        draw_noise: DrawRows | None = None,
        renewed: RenewedBank | None = None,
    ) -> None:
        self.signals, self.size, self.reuse = signals, size, reuse
        self.draw_psd_numbers, self.draw_noise = draw_psd_numbers, draw_noise
        self.renewed, self.device = renewed, signals.signals.device
        # The last pool and what it was drawn for.
        self.drawn: tuple[tuple, SignalPool] | None = None

    def of_step(self, indices: IndexBatch) -> tuple[SignalPool, Tensor]:
        """Return the pool that a step draws from, and which of its signals the step uses.

        Steps share a pool until each of its signals was used `reuse` times, in another order each
        time. Everything follows from the step's counters, so that a resumed run sees the same.

        Returns:
            The pool, and numbers of its signals, (signals of a full batch,).
        """
        *before, step = indices.counters
        pool_size = max(self.size, indices.batch_size)
        # A pool of N signals, each used `reuse` times, is a row of N * reuse uses. A step takes n
        # of them, the larger half of a full batch (also in an epoch's last, shorter batch, so that
        # the steps after it find the row where they expect it). So many steps share a pool:
        per_step = (indices.batch_size + 1) // 2
        steps_per_pool = pool_size * self.reuse // per_step
        pool_number, step_of_pool = divmod(step, steps_per_pool)
        key = (*before, pool_number, indices.rank, pool_size)
        if self.drawn is None or self.drawn[0] != key:
            old_pool = None if self.drawn is None else self.drawn[1]
            # An interruption while the old pool is overwritten must not leave it under its old key.
            self.drawn = None
            if self.renewed is not None:
                *run, epoch = before
                pools = -(-indices.epoch_steps // steps_per_pool)  # of an epoch
                self.renewed.move_to(epoch * pools + pool_number, (*run, indices.rank))
            generator = counted_generator(self.device, "signals", *key)
            self.drawn = (key, self.draw(pool_size, generator, old_pool))
        # The row of uses consists of `reuse` passes through the pool, each in a random order of
        # its own. Step s begins at use s * n: in pass s * n // N, at place s * n % N of its order.
        this_pass, first = divmod(step_of_pool * per_step, pool_size)
        crosses_into_next_pass = first + per_step > pool_size
        orders = [
            torch.randperm(
                pool_size,
                generator=counted_generator(self.device, "order", *key, number),
                device=self.device,
            )
            for number in range(this_pass, this_pass + 1 + crosses_into_next_pass)
        ]
        # (pool_size,), or (2 pool_size,) across a border -> (per_step,)
        return self.drawn[1], torch.cat(orders)[first : first + per_step]

    @torch.no_grad()
    def draw(
        self, size: int, generator: torch.Generator, old_pool: SignalPool | None
    ) -> SignalPool:
        """Return a new pool of signals and, where noise is reused, of as many stretches of noise.

        A stretch of noise is used twice as often as a signal, since a batch has twice as many rows
        as signals. On a GPU noise is not reused: drawing it costs no more than mixing it.

        Args:
            size: number of signals.
            generator: draws them.
            old_pool: a pool that is not needed any more; its memory is overwritten.
        """
        old_signals, old_noise = (None, None) if old_pool is None else old_pool[:2]
        at_a_time = RAW_AT_A_TIME if self.signals.whitened is None else WHITE_AT_A_TIME
        rows_at_a_time = at_a_time.get(self.device.type, at_a_time["cuda"])
        psd_numbers, parts = None, itertools.repeat(None)
        if self.draw_psd_numbers is not None:
            psd_numbers = self.draw_psd_numbers(size, generator)
            parts = iter(psd_numbers.split(rows_at_a_time))
        snr_parts: list[Tensor] = []
        known_parts: list[dict[str, Tensor]] = []

        def draw_signals(count: int, generator: torch.Generator) -> Tensor:
            signals, snr, known = self.signals.draw(count, generator, next(parts))
            known_parts.append(known)
            if snr is not None:
                snr_parts.append(snr)
            return signals

        signals = draw_in_parts(draw_signals, size, rows_at_a_time, generator, old_signals)
        snr = torch.cat(snr_parts) if snr_parts else None
        known = {name: torch.cat([part[name] for part in known_parts]) for name in known_parts[0]}
        if self.reuse == 1 or self.draw_noise is None or self.device.type != "cpu":
            return SignalPool(signals, None, psd_numbers, snr, known)
        stretches = -(-size // MIXED) * MIXED  # mixtures are made of whole groups
        noise = draw_in_parts(self.draw_noise, stretches, NOISE_AT_A_TIME, generator, old_noise)
        return SignalPool(signals, noise, psd_numbers, snr, known)


def draw_in_parts(
    draw: DrawRows,
    count: int,
    rows_at_a_time: int,
    generator: torch.Generator,
    memory: Tensor | None,
) -> Tensor:
    """Return `count` rows drawn some at a time.

    Args:
        draw: returns a given number of rows, always of the same shape.
        count: number of rows in all.
        rows_at_a_time: as many as a CPU's caches hold together with what they are made of.
        generator: handed to `draw`.
        memory: overwritten and returned if it has `count` rows. On a CPU, memory that is new costs
            as much as drawing what it holds.
    """
    rows = memory if memory is not None and len(memory) == count else None
    for start in range(0, count, rows_at_a_time):
        part = draw(min(rows_at_a_time, count - start), generator)
        if rows is None:  # the shape of a row is known from the first part on
            rows = part.new_empty(count, *part.shape[1:])
        rows[start : start + len(part)] = part
    return rows
