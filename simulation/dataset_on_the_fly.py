"""Training samples that are drawn on the device as they are needed, so that none is seen twice."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configuration.class_with_arguments import Part
from data.batch_order import IndexBatch
from datasets import Batch, G2NetDataset
from physics.bank_settings import BankSettings
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from runtime.errors import UserError, nearest
from signal_transforms.whitening import Whiten
from simulation.noise_mixtures import orthogonal_mixtures
from simulation.shared_generators import (
    shared_noise,
    shared_renewed,
    shared_signals,
    shared_whitened,
)
from simulation.signal_pool import SignalPools, counted_generator
from simulation.spectral_whitening import SpectralWhitening
from simulation.training_noise import AnyStrain, Gaussian, TrainingNoise
from simulation.unit_signals import UnitSignals

NOISES = ("gaussian", "real")
DRAWN = ("merger_time", "chirp_mass", "network_snr")  # what is known of a signal that is drawn


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
        side_targets: what else the target of a row tells of its signal, NaN without one: quantities
            named 'merger_time', 'chirp_mass' or 'network_snr', with a method `encode`; an
            experiment gives its own.

    Raises:
        UserError: an argument out of its range, no sample of target 0 for real noise, a whitening
            whose noise is not white, or noise that is of no use here.
    """

    draws_samples = True

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
        side_targets: Sequence[Any] = (),
    ) -> None:
        # It reads the files that are validated and predicted.
        super().__init__(
            paths, targets, ids=ids, cache=cache, is_test=is_test, observation=observation
        )
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
        unknown = [side.name for side in side_targets if side.name not in DRAWN]
        if unknown and not is_test:
            raise UserError(
                f"SimulatedDataset: side target {unknown[0]!r}{nearest(unknown[0], DRAWN)}: "
                f"expected one of {', '.join(DRAWN)}, which are known of a signal that is drawn"
            )
        self.side_targets = tuple(side_targets)
        self.samples_per_epoch = samples_per_epoch
        self.snr, self.curriculum, self.noise = tuple(snr), curriculum, noise
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
        self.whitening = self.build_whitening()
        has_psds = self.noise_source is not None and self.noise_source.has_psds
        place = (population, self.device, observation)
        renewed, self.whitened = None, None
        if fresh:
            renewed = shared_renewed(bank, *place, whiten, not has_psds, fresh, fresh_processes)
            self.signals, self.whitened = renewed.signals, renewed.whitened
        else:
            self.signals = shared_signals(bank, *place)
            if whiten is not None:
                self.whitened = shared_whitened(self.signals, whiten, observation, not has_psds)
        draw_mixable = None
        if self.noise_source is not None and self.noise_source.can_be_mixed(whiten is not None):
            # Not `self.draw_noise`: the data set would be part of a circle, and the memory of its
            # pool would not be freed with it.
            draw_mixable = functools.partial(
                self.noise_source.draw_rows, whitening=self.noise_whitening
            )
        self.pools = SignalPools(
            UnitSignals(self.signals, self.whitened, self.whitening),
            pool,
            reuse,
            self.noise_source.draw_psd_numbers if has_psds else None,
            draw_mixable,
            renewed,
        )

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
        return source

    def build_whitening(self) -> SpectralWhitening | None:
        """Return the whitening by the PSDs of the noise; None for the samples of files."""
        if self.noise_source is None:
            return None
        decimate = 1 if self.whiten is None else self.whiten.decimate
        return SpectralWhitening(self.noise_source.psds, self.observation, decimate, self.device)

    @property
    def noise_whitening(self) -> SpectralWhitening | None:
        """What whitens noise as it is drawn; None where strain is drawn."""
        return None if self.whiten is None else self.whitening

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
        pool, chosen = self.pools.of_step(indices)
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
        target = torch.zeros(size, 1 + len(self.side_targets), device=self.device)
        target[:, 1:] = torch.nan  # noise has no merger time
        target[:count, 0] = 1
        for column, side in enumerate(self.side_targets, 1):
            if count:
                is_snr = side.name == "network_snr"
                values = snr if is_snr else pool.known[side.name][chosen[:count]]
                target[:count, column] = side.encode(values)
        return {"waveform": waveform, "target": target, "index": torch.tensor(indices)}

    def generator(self, *counters: int | str) -> torch.Generator:
        """Return a generator on the device whose seed depends on all counters."""
        return counted_generator(self.device, *counters)

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
        return self.noise_source.draw_rows(size, generator, psd_numbers, self.noise_whitening)


def whitens_design_noise(whiten: Whiten) -> bool:
    """Return whether noise of the design curves comes out white, at a rate signals are drawn at."""
    designs = whiten.psds is None and whiten.matrices is None
    units = whiten.sr == whiten.observation.sample_rate and whiten.unit == STRAIN_UNIT
    rate = whiten.decimate > 1 and whiten.observation.num_samples % whiten.decimate == 0
    return designs and units and whiten.band is None and rate
