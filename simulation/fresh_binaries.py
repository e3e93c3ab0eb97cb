"""Binaries that worker processes keep computing, and a bank whose oldest part they replace.

Which binaries are in the bank depends on counters alone. A bank of K blocks is in *generation* G
when blocks G - K + 1 to G are in it. Block n has its own seed from n = 1 on; blocks of 0 and below
are those of the stored bank. Block n lies where block n - K lay. A resumed run computes the blocks
of its generation again and sees what an uninterrupted run sees.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np

from physics.bank_settings import BankSettings
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank, one_thread_each
from physics.waveforms import compute_block
from runtime.errors import UserError
from runtime.optional_packages import require
from runtime.seeds import counted_seed
from runtime.worker_pool import enter_worker
from simulation.whitened_signals import WhitenedSignals

AHEAD = 2  # blocks that are computed before they are needed
NICENESS = 10  # of the workers: a training step that wants a core gets it

# Seed, fold and rank of a run, and the number of a block.
BlockKey = tuple[tuple[int | str, ...], int]
UNKNOWN: BlockKey = ((), 0)


class FreshBinaries:
    """Blocks of binaries, computed by worker processes before they are asked for.

    Args:
        settings: of the bank that they join.
        block_size: binaries of a block.
        processes: workers. Their number changes no result.

    Raises:
        UserError: LALSuite is not installed.
    """

    def __init__(self, settings: BankSettings, block_size: int, processes: int = 1) -> None:
        require("lalsimulation", "sim")
        self.settings, self.block_size = settings, block_size
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.pool = ProcessPoolExecutor(
            processes, mp_context=context, initializer=enter_worker, initargs=(NICENESS,)
        )
        self.asked: dict[BlockKey, Future] = {}

    def settings_of(self, key: BlockKey) -> BankSettings:
        """Return the settings of a block."""
        run, number = key
        seed = counted_seed("fresh binaries", self.settings.seed, *run, number)
        return replace(self.settings, size=self.block_size, seed=seed)

    def ask(self, keys: Iterable[BlockKey]) -> None:
        """Let the workers compute these blocks next; blocks that are not among them are dropped."""
        keys = list(keys)
        for old in [key for key in self.asked if key not in keys]:
            self.asked.pop(old).cancel()
        with one_thread_each():  # the pool starts its processes when it is given work
            for key in keys:
                if key not in self.asked:
                    self.asked[key] = self.pool.submit(compute_block, self.settings_of(key))

    def take(self, key: BlockKey) -> tuple[np.ndarray, np.ndarray]:
        """Return the waveforms and parameters of a block that was asked for; waits for them.

        Raises:
            UserError: a worker died, or LALSimulation cannot compute a waveform.
        """
        try:
            return self.asked.pop(key).result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that computes fresh binaries died, perhaps for want of memory: resume "
                "the run with --resume, with a smaller dataset_params.fresh if it recurs"
            ) from error
        except BaseException:
            # A run that ends, as by Ctrl-C, does not wait for what was asked for.
            self.ask(())
            raise


class RenewedBank:
    """Signals of a bank whose oldest block is replaced from one generation to the next.

    Args:
        signals: draw from the bank; a generator that nothing else draws from.
        whitened: draws the same signals whitened; None if nothing does.
        settings: of the bank.
        block_size: binaries that are replaced at a time.
        processes: workers.

    Raises:
        UserError: the bank is no whole number of blocks.
    """

    def __init__(
        self,
        signals: SignalGenerator,
        whitened: WhitenedSignals | None,
        settings: BankSettings,
        block_size: int,
        processes: int = 1,
    ) -> None:
        if settings.size % block_size:
            raise UserError(
                f"SimulatedDataset: fresh = {block_size}: expected a divisor of bank_size = "
                f"{settings.size}, so that every binary is replaced in its turn"
            )
        self.signals, self.whitened, self.settings = signals, whitened, settings
        self.block_size, self.num_blocks = block_size, settings.size // block_size
        self.fresh = FreshBinaries(settings, block_size, processes)
        self.contents: list[BlockKey | None] = [None] * self.num_blocks  # None: the stored bank's

    def block_in(self, place: int, generation: int) -> int:
        """Return the number of the block that lies at a place; 0 or less for the stored bank's."""
        return generation - (generation - place) % self.num_blocks

    def move_to(self, generation: int, run: tuple[int | str, ...]) -> None:
        """Bring the bank to a generation, and let the workers go ahead.

        Args:
            generation: 0 or more.
            run: seed, fold and rank, so that runs and processes have different binaries.
        """
        wanted = []
        for place in range(self.num_blocks):
            number = self.block_in(place, generation)
            wanted.append((run, number) if number > 0 else None)
        missing = [p for p, key in enumerate(wanted) if key not in (None, self.contents[p])]
        ahead = [(run, generation + number) for number in range(1, AHEAD + 1)]
        self.fresh.ask([*(wanted[place] for place in missing), *ahead])
        for place in missing:
            self.replace(place, wanted[place], *self.fresh.take(wanted[place]))
        stored = [p for p, key in enumerate(wanted) if key is None and self.contents[p] is not None]
        if stored:  # another fold begins
            bank = WaveformBank.build(self.settings)
            for place in stored:
                rows = slice(place * self.block_size, (place + 1) * self.block_size)
                self.replace(place, None, bank.waveforms[rows], bank.parameters[rows])

    def replace(
        self, place: int, key: BlockKey | None, waveforms: np.ndarray, parameters: np.ndarray
    ) -> None:
        """Put binaries into the block at a place."""
        holder = self.signals if self.whitened is None else self.whitened
        # An interruption must not leave a mixture under either key.
        self.contents[place] = UNKNOWN
        holder.replace_binaries(place * self.block_size, waveforms, parameters)
        self.contents[place] = key
