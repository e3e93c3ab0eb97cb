"""Endless injections: training samples drawn on the device as they are needed, none seen twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from configuration.parts import Part
from data.batch_order import IndexBatch
from datasets import Batch, G2NetDataset
from physics.constants import DETECTORS, NUM_SAMPLES, SAMPLE_RATE, STRAIN_UNIT
from physics.noise import NoiseGenerator
from physics.signals import Population, SignalGenerator
from physics.waveforms import BankSettings, WaveformBank
from runtime.errors import UserError, nearest
from runtime.seeds import counted_seed
from signal_transforms import whitening_operators
from signal_transforms.whitening import Whiten
from simulation.noise_mixtures import MIXED, orthogonal_mixtures
from simulation.whitened_signals import WhitenedSignals

NOISES = ("gaussian", "real")
# Drawn together, in a CPU's caches: raw signals, with their transforms, or whitened ones.
RAW_AT_A_TIME = {"cpu": 32, "cuda": 1024}
WHITE_AT_A_TIME = {"cpu": 128, "cuda": 1024}
NOISE_AT_A_TIME = 64  # stretches of four times the length, where it is not drawn white


@functools.lru_cache(maxsize=2)
def shared_signals(
    bank: BankSettings, population: Population, device: torch.device
) -> SignalGenerator:
    """Return the signals of a bank on a device, made once in a process: all folds use the same."""
    return SignalGenerator(WaveformBank.build(bank), device, population)


@functools.lru_cache(maxsize=2)
def shared_whitened(signals: SignalGenerator, whiten: Part) -> WhitenedSignals:
    """Return what draws those signals whitened, fitted once in a process."""
    return WhitenedSignals(signals, whiten.build())


class Pool(NamedTuple):
    """What several steps draw from."""

    signals: Tensor  # (signal, detector, time), of network SNR one
    noise: Tensor | None  # (stretch, detector, time); none where every step draws its own


class SimulatedDataset(G2NetDataset):
    """Trains on simulated samples, validates and predicts on those of the files.

    In training every batch is drawn on the device: binaries of a waveform bank with fresh sky
    position, orientation, phase and arrival time, scaled to a fresh SNR, in fresh noise; one half
    of a batch, its first rows, holds a signal. With `is_test` it is a `G2NetDataset`.

    Draws are counted from (seed, fold, epoch, step), so that a resumed fit sees what it would have
    seen. Several processes draw other samples than one does.

    With `whiten`, training samples come whitened already: signals are whitened as they are drawn
    (see `WhitenedSignals`), and Gaussian noise is drawn white, which costs next to nothing. Leave
    it out of `transforms["train"]` then, and begin `transforms["test"]` with it.

    Args:
        paths, targets, ids, cache, is_test: as in `G2NetDataset`.
        device: where to draw.
        samples_per_epoch: what is called an epoch.
        snr: bounds of the network SNR, whose density is proportional to its inverse square.
        curriculum: (lower bound to begin with, epochs): the lower bound of the SNR falls from
            there, geometrically, to that of `snr`.
        noise: 'gaussian', of the design curves; or 'real', the samples of target 0 among those
            that the fold trains on.
        whiten: a `Whiten` of the design curves that decimates without a band.
        reuse: how often a signal is used, each time with another SNR and other noise, and how
            often, twice that, a CPU uses a stretch of Gaussian noise, each time in another mixture
            (see `orthogonal_mixtures`). With one, samples are independent; more is cheaper.
        pool: how many signals are drawn at a time, and half as many as stretches of noise.
        bank_size: how many binaries there are.
        bank_seed: of the binaries; simulated data sets on disk use 0.

    Raises:
        UserError: an argument out of its range, no sample of target 0 for real noise, or a
            whitening whose noise is not white.
    """

    def __init__(
        self,
        paths: Sequence[Any] | None,
        targets: Sequence[float] | None = None,
        *,
        ids: Sequence[str] | None = None,
        cache: Any = None,
        is_test: bool = False,
        device: torch.device | str = "cpu",
        samples_per_epoch: int = 65_536,
        snr: Sequence[float] = Population.snr,
        curriculum: Sequence[float] | None = None,
        noise: str = "gaussian",
        whiten: Part | None = None,
        reuse: int = 1,
        pool: int = 1024,
        bank_size: int = 8000,
        bank_seed: int = 1,
    ) -> None:
        super().__init__(paths, targets, ids=ids, cache=cache, is_test=is_test)
        self.is_test, self.device = is_test, torch.device(device)
        for name, value in (
            ("samples_per_epoch", samples_per_epoch),
            ("reuse", reuse),
            ("pool", pool),
        ):
            if value < 1:
                raise UserError(f"SimulatedDataset: {name} = {value}: expected 1 or more")
        if len(snr) != 2 or not 0 < snr[0] < snr[1]:
            raise UserError(f"SimulatedDataset: snr = {snr}: expected two rising positive numbers")
        if curriculum is not None and (
            len(curriculum) != 2 or not snr[0] <= curriculum[0] < snr[1] or curriculum[1] <= 0
        ):
            raise UserError(
                f"SimulatedDataset: curriculum = {curriculum}: expected a lower bound within "
                f"snr = {tuple(snr)} to begin with, and a number of epochs"
            )
        if noise not in NOISES:
            raise UserError(
                f"SimulatedDataset: noise = {noise!r}{nearest(str(noise), NOISES)}: expected one "
                f"of {', '.join(NOISES)}"
            )
        self.samples_per_epoch = samples_per_epoch
        self.snr, self.curriculum, self.noise = tuple(snr), curriculum, noise
        self.reuse, self.pool_size = reuse, pool
        self.drawn: tuple[tuple, Pool] | None = None  # the last pool and what it was drawn for
        self.whiten = None if whiten is None else whiten.build()
        if self.whiten is not None and not whitens_designs(self.whiten):
            raise UserError(
                "SimulatedDataset: whiten needs a Whiten of the three design curves that decimates "
                f"{NUM_SAMPLES} samples of {SAMPLE_RATE} Hz by a power of two, without a band, "
                "after which noise is white"
            )
        if is_test:
            return
        if noise == "real":
            self.negatives = np.flatnonzero(self.targets == 0)
            if targets is None or len(self.negatives) == 0:
                raise UserError("SimulatedDataset: noise = 'real' needs samples of target 0")
        self.signals = shared_signals(
            BankSettings(size=bank_size, seed=bank_seed), Population(snr=self.snr), self.device
        )
        self.whitened = None if whiten is None else shared_whitened(self.signals, whiten)
        self.noise_generator = NoiseGenerator(self.device)

    def __len__(self) -> int:
        return super().__len__() if self.is_test else self.samples_per_epoch

    @property
    def ids(self) -> np.ndarray:
        """The id of every sample, an array of str; simulated ones are numbered."""
        if self.is_test:
            return super().ids
        return np.char.add("simulated ", np.arange(len(self)).astype(str))

    @property
    def on_device(self) -> bool:
        """Whether batches are made on a device, so that no loader's workers are wanted."""
        return super().on_device if self.is_test else True

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a batch: drawn in training, whatever the indices; else read."""
        if self.is_test:
            return super().__getitems__(indices)
        if not isinstance(indices, IndexBatch) or not indices.counters:
            raise UserError(
                "a SimulatedDataset draws from the counters of an IndexBatch: read it through a "
                "CountedBatchSampler"
            )
        generator = self.generator(*indices.counters, indices.rank)
        size = len(indices)
        # of an odd number of rows, the one in the middle is as often the one as the other
        count = (size + indices.seed % 2) // 2
        pool, chosen = self.pool_of_step(indices)
        if pool.noise is None:
            waveform = self.draw_noise(size, generator)
        else:
            waveform = orthogonal_mixtures(pool.noise, size, generator)
        if count:
            bounds = (self.lowest_snr(indices.progress), self.snr[1])
            snr = self.signals.draw_snr(count, bounds, generator)
            signals = pool.signals.index_select(0, chosen[:count])
            waveform[:count].addcmul_(signals, snr[:, None, None])
        target = torch.zeros(size, 1, device=self.device)
        target[:count] = 1
        return {"waveform": waveform, "target": target, "index": torch.tensor(indices)}

    def generator(self, *counters: int | str) -> torch.Generator:
        generator = torch.Generator(self.device)
        generator.manual_seed(counted_seed(*counters, "simulated"))
        return generator

    def lowest_snr(self, progress: float) -> float:
        """Return the lower bound of the SNR after so many epochs."""
        low = self.snr[0]
        if self.curriculum is None:
            return low
        start, epochs = self.curriculum
        return start * (low / start) ** min(progress / epochs, 1.0)

    def draw_noise(self, size: int, generator: torch.Generator) -> Tensor:
        """Return noise (size, detector, time), whitened where samples are."""
        if self.noise == "real":
            chosen = torch.randint(
                len(self.negatives), (size,), generator=generator, device=self.device
            )
            strain = torch.as_tensor(self.read(self.negatives[chosen.cpu().numpy()]))
            strain = strain.to(self.device)
            return strain if self.whiten is None else self.whiten(strain)
        if self.whiten is None:
            return self.noise_generator.sample(size, generator)
        shape = (size, len(self.whiten.detectors), self.noise_generator.n // self.whiten.decimate)
        noise = torch.randn(shape, generator=generator, device=self.device)
        return whitening_operators.remove_low_frequencies(
            noise, self.whiten.sr / self.whiten.decimate
        )

    def pool_of_step(self, indices: IndexBatch) -> tuple[Pool, Tensor]:
        """Return this step's pool and the numbers of the signals that are this step's.

        Steps share a pool until each of its signals was used `reuse` times, in another order each
        time.
        """
        *before, step = indices.counters
        # of a full batch: an epoch's last one goes on where the others stopped
        count = (indices.batch_size + 1) // 2
        size = max(self.pool_size, indices.batch_size)
        steps = size * self.reuse // count  # that share a pool
        key = (*before, step // steps, indices.rank, size)
        if self.drawn is None or self.drawn[0] != key:
            room = None if self.drawn is None else self.drawn[1]
            self.drawn = None  # not to be taken for whole if what follows is cut short
            self.drawn = (key, self.draw_pool(size, self.generator("signals", *key), room))
        time, first = divmod(step % steps * count, size)
        orders = [
            torch.randperm(size, generator=self.generator("order", *key, n), device=self.device)
            for n in range(time, time + 1 + (first + count > size))
        ]
        return self.drawn[1], torch.cat(orders)[first : first + count]

    @torch.no_grad()
    def draw_pool(self, size: int, generator: torch.Generator, room: Pool | None) -> Pool:
        """Return so many signals and, where noise is used again, as many stretches of noise.

        Each of these is used twice as often as a signal, since a batch has twice as many rows. A
        GPU draws noise as fast as it would mix it.

        Args:
            size: how many.
            generator: draws them.
            room: a pool that is not needed any more.
        """
        old = (None, None) if room is None else room
        at_a_time = RAW_AT_A_TIME if self.whitened is None else WHITE_AT_A_TIME
        each = at_a_time.get(self.device.type, at_a_time["cuda"])
        signals = in_parts(self.draw_signals, size, each, generator, old[0])
        if self.reuse == 1 or self.noise == "real" or self.device.type != "cpu":
            return Pool(signals, None)
        rows = -(-size // MIXED) * MIXED
        return Pool(signals, in_parts(self.draw_noise, rows, NOISE_AT_A_TIME, generator, old[1]))

    def draw_signals(self, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, detector, time) signals of network SNR one, whitened where samples are."""
        if self.whitened is not None:
            return self.whitened.draw(count, generator)
        strain, snr, _ = self.signals.draw(count, generator)
        return strain * (STRAIN_UNIT / snr.norm(dim=1))[:, None, None]


def in_parts(
    draw: Callable[[int, torch.Generator], Tensor],
    count: int,
    each: int,
    generator: torch.Generator,
    room: Tensor | None,
) -> Tensor:
    """Return `count` rows drawn some at a time, in old memory where that is of the same size.

    Memory that is new costs a CPU as much as what is drawn.
    """
    for start in range(0, count, each):
        part = draw(min(each, count - start), generator)
        if room is None or len(room) != count:
            room = part.new_empty(count, *part.shape[1:])
        room[start : start + len(part)] = part
    return room


def whitens_designs(whiten: Whiten) -> bool:
    """Whether noise of the design curves comes out white, at a rate that signals are drawn at."""
    designs = whiten.psds is None and whiten.matrices is None and whiten.detectors == DETECTORS
    units = whiten.sr == SAMPLE_RATE and whiten.unit == STRAIN_UNIT
    rate = whiten.decimate > 1 and NUM_SAMPLES % whiten.decimate == 0
    return designs and units and whiten.band is None and rate
