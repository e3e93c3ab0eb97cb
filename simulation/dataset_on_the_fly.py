"""Training samples that are drawn on the device as they are needed, so that none is seen twice."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from configuration.class_with_arguments import Part
from data.batch_order import IndexBatch
from datasets import Batch, G2NetDataset
from physics.bank_settings import DISTANCE, BankSettings
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError, nearest
from runtime.seeds import counted_seed
from signal_transforms.whitening import Whiten
from simulation.fresh_binaries import RenewedBank
from simulation.noise_mixtures import MIXED, orthogonal_mixtures
from simulation.spectral_whitening import SpectralWhitening, fade_in
from simulation.training_noise import AnyStrain, Gaussian, TrainingNoise
from simulation.whitened_signals import WhitenedSignals

NOISES = ("gaussian", "real")
# Signals drawn together: as many as fit a CPU's caches with their transforms, raw or whitened.
RAW_AT_A_TIME = {"cpu": 32, "cuda": 1024}
WHITE_AT_A_TIME = {"cpu": 128, "cuda": 1024}
NOISE_AT_A_TIME = 64  # raw noise is cut out of stretches of four times the length


@functools.lru_cache(maxsize=2)
def shared_signals(
    bank: BankSettings, population: Population, device: torch.device, observation: Observation
) -> SignalGenerator:
    """Return the signals of a bank on a device; all folds of a process share one generator."""
    return SignalGenerator(WaveformBank.build(bank), device, population, observation=observation)


@functools.lru_cache(maxsize=2)
def shared_whitened(
    signals: SignalGenerator, whiten: Part, observation: Observation, corrected: bool
) -> WhitenedSignals:
    """Return what draws these signals whitened; the fit is made once in a process."""
    return WhitenedSignals(signals, whiten.build_for(observation=observation), corrected)


@functools.lru_cache(maxsize=1)
def shared_renewed(
    bank: BankSettings,
    population: Population,
    device: torch.device,
    observation: Observation,
    whiten: Part | None,
    corrected: bool,
    fresh: int,
    processes: int,
) -> RenewedBank:
    """Return signals of a bank that is renewed; all folds of a process share them."""
    signals = SignalGenerator(WaveformBank.build(bank), device, population, observation=observation)
    whitened = None
    if whiten is not None:
        whitened = WhitenedSignals(signals, whiten.build_for(observation=observation), corrected)
    return RenewedBank(signals, whitened, bank, fresh, processes)


@functools.lru_cache(maxsize=2)
def shared_noise(noise: Part, observation: Observation, device: torch.device) -> TrainingNoise:
    """Return a kind of noise on a device; all folds of a process share one."""
    return noise.build_for(observation=observation, device=device)


class SignalPool(NamedTuple):
    """Signals and noise that several steps draw from."""

    signals: Tensor  # (signal, detector, time), of network SNR 1
    noise: Tensor | None  # (stretch, detector, time); None if every step draws its own
    psd_numbers: Tensor | None  # (signal, detector) of the noise; None if rows do not differ
    snr: Tensor | None = None  # (signal,) at their distance; None if every step draws its own


class SimulatedDataset(G2NetDataset):
    """Trains on simulated samples; validates and predicts on the samples of files.

    In training every batch is drawn on the device: binaries of a waveform bank with new sky
    position, orientation, phase and arrival time, scaled to a new SNR, in new noise. The first
    half of a batch holds a signal. With `is_test` this is a `G2NetDataset`.

    What is drawn depends on (seed, fold, epoch, step) alone, so that a resumed fold sees the same
    samples. Several processes draw other samples than one process does.

    With `whiten`, training samples are drawn whitened: signals as in `WhitenedSignals`, and
    Gaussian noise as white noise, which costs almost nothing. Then leave the `Whiten` out of
    `transforms["train"]`, and begin `transforms["test"]` with it.

    Noise may have many PSDs: a family of curves, or hours of strain (see `TrainingNoise`). Each
    row and detector then has one of them. The PSDs of a signal are drawn with it, into the pool:
    it is whitened and scaled to its SNR by them, and whenever it is used, it is put into new noise
    of these PSDs. Rows without a signal draw their PSDs at each step, by the same law. Noise of the
    pool is mixed only where mixtures follow the law of what they are made of; other noise is drawn
    for every row. Glitches are drawn for every row, after the mixing. All of it follows from the
    counters of the step.

    Args:
        paths, targets, ids, cache, is_test: as in `G2NetDataset`.
        device: where to draw.
        samples_per_epoch: length of an epoch.
        snr: bounds of the network SNR; its density is proportional to 1 / snr^2. None takes the
            population's; with a law of distance the SNR follows from that.
        curriculum: (first lower bound, epochs): during these epochs the lower bound of the SNR
            falls geometrically from the first one to that of `snr`.
        noise: 'gaussian', drawn from the observation's curves; 'real', the samples of target 0 in
            the training part of the fold; or a part: `Gaussian`, `RealStrain`, `Glitches`, or a
            class with `sample(count, generator)` that returns (count, detector, time) strain.
        whiten: a `Whiten` of the design curves that decimates without a band.
        reuse: how often a signal is used, each time with another SNR and other noise. A CPU uses a
            stretch of Gaussian noise twice as often, each time in another mixture (see
            `orthogonal_mixtures`). With 1, samples are independent; more is cheaper.
        pool: signals, and stretches of noise, that are drawn at a time.
        bank_size: number of binaries.
        bank_seed: seed of the binaries; simulated data sets on disk use 0.
        fresh: binaries that are new in the bank with every new pool of signals, in the place of the
            oldest; worker processes compute them meanwhile. 0 keeps the binaries of the bank.
        fresh_processes: how many of these processes there are.
        observation: detectors, sampling, window and curves; an experiment gives its own.
        population: the laws of the signals; an experiment gives its own.

    Raises:
        UserError: an argument out of its range, no sample of target 0 for real noise, a whitening
            whose noise is not white, or noise that is of no use here.
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
        snr: Sequence[float] | None = None,
        curriculum: Sequence[float] | None = None,
        noise: str | Part = "gaussian",
        whiten: Part | None = None,
        reuse: int = 1,
        pool: int = 1024,
        bank_size: int = 8000,
        bank_seed: int = 1,
        fresh: int = 0,
        fresh_processes: int = 1,
        observation: Observation = COMPETITION,
        population: Population = COMPETITION_POPULATION,
    ) -> None:
        super().__init__(paths, targets, ids=ids, cache=cache, is_test=is_test)
        self.is_test, self.device = is_test, torch.device(device)
        for name, value in (
            ("samples_per_epoch", samples_per_epoch),
            ("reuse", reuse),
            ("pool", pool),
            ("fresh_processes", fresh_processes),
        ):
            if value < 1:
                raise UserError(f"SimulatedDataset: {name} = {value}: expected 1 or more")
        if not 0 <= fresh <= bank_size:
            raise UserError(
                f"SimulatedDataset: fresh = {fresh}: expected from 0 to bank_size = {bank_size}"
            )
        if population.has_distance and not (snr is None and curriculum is None):
            raise UserError(
                "SimulatedDataset: snr and curriculum need a law of the SNR, and the population "
                "has one of distance: leave them out, or set population.distance=None"
            )
        snr = population.snr if snr is None else snr
        if len(snr) != 2 or not 0 < snr[0] < snr[1]:
            raise UserError(f"SimulatedDataset: snr = {snr}: expected two rising positive numbers")
        if curriculum is not None and (
            len(curriculum) != 2 or not snr[0] <= curriculum[0] < snr[1] or curriculum[1] <= 0
        ):
            raise UserError(
                f"SimulatedDataset: curriculum = {curriculum}: expected a lower bound within "
                f"snr = {tuple(snr)} to begin with, and a number of epochs"
            )
        if noise not in NOISES and not isinstance(noise, Part):
            raise UserError(
                f"SimulatedDataset: noise = {noise!r}{nearest(str(noise), NOISES)}: expected one "
                f"of {', '.join(NOISES)}, or a part such as Gaussian or RealStrain"
            )
        self.samples_per_epoch = samples_per_epoch
        self.snr, self.curriculum, self.noise = tuple(snr), curriculum, noise
        self.reuse, self.pool_size = reuse, pool
        self.drawn: tuple[tuple, SignalPool] | None = (
            None  # the last pool and what it was drawn for
        )
        self.observation = observation
        self.whiten = None if whiten is None else whiten.build_for(observation=observation)
        if self.whiten is not None and not whitens_design_noise(self.whiten):
            raise UserError(
                "SimulatedDataset: whiten needs a Whiten of the design curves that decimates "
                f"{observation.num_samples} samples of {observation.sample_rate} Hz by a power of "
                "two, without a band, after which noise is white"
            )
        if is_test:
            return
        if noise == "real":
            self.negatives = np.flatnonzero(self.targets == 0)
            if targets is None or len(self.negatives) == 0:
                raise UserError("SimulatedDataset: noise = 'real' needs samples of target 0")
        population = replace(population, snr=self.snr)
        bank = BankSettings.of(population, observation, bank_size, bank_seed)
        self.noise_source = self.build_noise_source()
        has_psds = self.noise_source is not None and self.noise_source.has_psds
        place = (population, self.device, observation)
        self.renewed, self.whitened = None, None
        if fresh:
            self.renewed = shared_renewed(
                bank, *place, whiten, not has_psds, fresh, fresh_processes
            )
            self.signals, self.whitened = self.renewed.signals, self.renewed.whitened
            return
        self.signals = shared_signals(bank, *place)
        if whiten is not None:
            self.whitened = shared_whitened(self.signals, whiten, observation, not has_psds)

    def build_noise_source(self) -> TrainingNoise | None:
        """Return where the noise comes from; None for the samples of files.

        Raises:
            UserError: it cannot be whitened and should be, or is no noise.
        """
        if self.noise == "real":
            return None
        part = self.noise if isinstance(self.noise, Part) else Part(Gaussian)
        source = shared_noise(part, self.observation, self.device)
        if not isinstance(source, TrainingNoise):
            if not callable(getattr(source, "sample", None)):
                raise UserError(
                    f"SimulatedDataset: noise = {part!r} has no method sample(count, generator): "
                    f"expected Gaussian, RealStrain, Glitches, or a class that has one"
                )
            source = AnyStrain(source, self.device, self.observation, self.whiten)
        if self.whiten is not None and source.needs_strain:
            raise UserError(
                f"SimulatedDataset: noise = {part!r} and whiten do not go together: "
                f"{source.needs_strain}; take the drop-outs out of kinds, or leave whiten out"
            )
        decimate = 1 if self.whiten is None else self.whiten.decimate
        self.whitening = SpectralWhitening(source.psds, self.observation, decimate, self.device)
        return source

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
        # With an odd number of rows, the middle one holds a signal in half of the batches.
        count = (size + indices.seed % 2) // 2
        pool, chosen = self.pool_of_step(indices)
        psd_numbers = None
        if pool.psd_numbers is not None:
            others = self.noise_source.draw_psd_numbers(size - count, generator)
            psd_numbers = torch.cat([pool.psd_numbers[chosen[:count]], others])
        if pool.noise is None:
            waveform = self.draw_noise(size, generator, psd_numbers)
        else:
            waveform = orthogonal_mixtures(pool.noise, size, generator)
        waveform = self.add_transients(waveform, psd_numbers, generator)
        if count:
            if pool.snr is None:
                bounds = (self.lowest_snr(indices.progress), self.snr[1])
                snr = self.signals.draw_snr(count, bounds, generator)
            else:
                snr = pool.snr[chosen[:count]]
            signals = pool.signals.index_select(0, chosen[:count])
            waveform[:count].addcmul_(signals, snr[:, None, None])
        target = torch.zeros(size, 1, device=self.device)
        target[:count] = 1
        return {"waveform": waveform, "target": target, "index": torch.tensor(indices)}

    def generator(self, *counters: int | str) -> torch.Generator:
        """Return a generator on the device whose seed depends on all counters."""
        generator = torch.Generator(self.device)
        generator.manual_seed(counted_seed(*counters, "simulated"))
        return generator

    def lowest_snr(self, progress: float) -> float:
        """Return the lower bound of the SNR after `progress` epochs."""
        low = self.snr[0]
        if self.curriculum is None:
            return low
        start, epochs = self.curriculum
        # Geometrically: the same factor in each step, from `start` to `low`.
        return start * (low / start) ** min(progress / epochs, 1.0)

    def add_transients(
        self, noise: Tensor, psd_numbers: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Return noise (rows, detector, time) with what each row has of its own, as glitches."""
        if self.noise_source is None:
            return noise
        if psd_numbers is None:
            psd_numbers = self.noise_source.draw_psd_numbers(len(noise), generator)
        whitened = self.whiten is not None
        return self.noise_source.add_transients(
            noise, psd_numbers, self.whitening, whitened, generator
        )

    def draw_noise(
        self, size: int, generator: torch.Generator, psd_numbers: Tensor | None = None
    ) -> Tensor:
        """Return noise without transients, (size, detector, time), whitened if `whiten` is given.

        Args:
            size: rows.
            generator: on the device.
            psd_numbers: (size, detector); None for noise that has the same in all rows.
        """
        if self.noise_source is None:
            chosen = torch.randint(
                len(self.negatives), (size,), generator=generator, device=self.device
            )
            strain = torch.as_tensor(self.read(self.negatives[chosen.cpu().numpy()]))
            strain = strain.to(self.device)
            return strain if self.whiten is None else self.whiten(strain)
        if self.whiten is None:
            return self.noise_source.sample(size, generator, psd_numbers)
        if psd_numbers is None:
            psd_numbers = self.noise_source.draw_psd_numbers(size, generator)
        return self.noise_source.sample_whitened(psd_numbers, self.whitening, generator)

    def pool_of_step(self, indices: IndexBatch) -> tuple[SignalPool, Tensor]:
        """Return the pool that a step draws from, and which of its signals the step uses.

        Steps share a pool until each of its signals was used `reuse` times, in another order each
        time. Everything follows from the step's counters, so that a resumed run sees the same.

        Returns:
            The pool, and numbers of its signals, (signals of a full batch,).
        """
        *before, step = indices.counters
        pool_size = max(self.pool_size, indices.batch_size)
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
            generator = self.generator("signals", *key)
            self.drawn = (key, self.draw_pool(pool_size, generator, old_pool))
        # The row of uses consists of `reuse` passes through the pool, each in a random order of
        # its own. Step s begins at use s * n: in pass s * n // N, at place s * n % N of its order.
        this_pass, first = divmod(step_of_pool * per_step, pool_size)
        crosses_into_next_pass = first + per_step > pool_size
        orders = [
            torch.randperm(
                pool_size, generator=self.generator("order", *key, number), device=self.device
            )
            for number in range(this_pass, this_pass + 1 + crosses_into_next_pass)
        ]
        # (pool_size,), or (2 pool_size,) across a border -> (per_step,)
        return self.drawn[1], torch.cat(orders)[first : first + per_step]

    @torch.no_grad()
    def draw_pool(
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
        at_a_time = RAW_AT_A_TIME if self.whitened is None else WHITE_AT_A_TIME
        rows_at_a_time = at_a_time.get(self.device.type, at_a_time["cuda"])
        psd_numbers, parts = None, itertools.repeat(None)
        if self.noise_source is not None and self.noise_source.has_psds:
            psd_numbers = self.noise_source.draw_psd_numbers(size, generator)
            parts = iter(psd_numbers.split(rows_at_a_time))
        snr_parts: list[Tensor] = []

        def draw_signals(count: int, generator: torch.Generator) -> Tensor:
            signals, snr = self.draw_signals(count, generator, next(parts))
            if snr is not None:
                snr_parts.append(snr)
            return signals

        signals = draw_in_parts(draw_signals, size, rows_at_a_time, generator, old_signals)
        snr = torch.cat(snr_parts) if snr_parts else None
        can_be_mixed = self.noise_source is not None and self.noise_source.can_be_mixed(
            whitened=self.whiten is not None
        )
        if self.reuse == 1 or not can_be_mixed or self.device.type != "cpu":
            return SignalPool(signals, None, psd_numbers, snr)
        stretches = -(-size // MIXED) * MIXED  # mixtures are made of whole groups
        noise = draw_in_parts(self.draw_noise, stretches, NOISE_AT_A_TIME, generator, old_noise)
        return SignalPool(signals, noise, psd_numbers, snr)

    def draw_signals(
        self, count: int, generator: torch.Generator, psd_numbers: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return signals of network SNR 1, whitened if `whiten` is set.

        Args:
            count: how many.
            generator: on the device.
            psd_numbers: (count, detector) of the noise that they go into; None for the design
                curves.

        Returns:
            (count, detector, time), and their network SNR (count,) at the distances of the
            population, None where it has a law of the SNR.
        """
        drawn = self.signals.draw_placements(count, generator)
        if self.whitened is not None:
            gain = None
            if psd_numbers is not None:
                size = self.whitened.stretch_samples
                gain = self.whitening.gains(size, self.whitening.decimate)[psd_numbers]
            signals, snr = self.whitened.whitened_as(drawn, gain)
            signals.mul_(1 / snr[:, None, None])
        else:
            strain = self.signals.project(**drawn)
            if psd_numbers is not None:
                snr = self.whitening.optimal_snr(fade_in(strain), psd_numbers)
            else:
                snr = self.signals.optimal_snr(strain)  # (count, detector)
            snr = snr.norm(dim=1)  # of the network: the root of the sum of the squares
            signals = strain * (STRAIN_UNIT / snr)[:, None, None]
        if not self.signals.population.has_distance:
            return signals, None
        distance = self.signals.draw_distance(drawn["waveform"], generator)
        return signals, snr * (DISTANCE / distance)


def draw_in_parts(
    draw: Callable[[int, torch.Generator], Tensor],
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


def whitens_design_noise(whiten: Whiten) -> bool:
    """Return whether noise of the design curves comes out white, at a rate signals are drawn at."""
    designs = whiten.psds is None and whiten.matrices is None
    units = whiten.sr == whiten.observation.sample_rate and whiten.unit == STRAIN_UNIT
    rate = whiten.decimate > 1 and whiten.observation.num_samples % whiten.decimate == 0
    return designs and units and whiten.band is None and rate
