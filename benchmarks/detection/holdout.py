"""The hold-out: samples that are drawn once, kept on disk, and never trained on.

Noise and signals are those of an observation and a population, the competition's by default. They
come from the project's own generators, the waveforms from a bank whose seed no training uses. The
noise is Gaussian. Every second sample holds a signal. A smaller hold-out is the beginning of a
larger one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch

from physics.bank_settings import FORMAT as BANK_FORMAT
from physics.bank_settings import BankSettings
from physics.cache_folder import cache_folder
from physics.noise import NoiseGenerator
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.console import LOGGER, progress
from runtime.errors import UserError
from runtime.files import atomic_path, read_json, write_json
from runtime.seeds import counted_seed
from transforms import Whiten

FORMAT = 1  # raise it when the same settings would give other samples
BATCH = 64  # samples drawn with one seed
TRAINING_SEEDS = (0, 1)  # of the waveform banks that training draws from


@dataclass(frozen=True)
class HoldoutSettings:
    """What a hold-out is made of.

    Attributes:
        samples: how many; every second holds a signal.
        seed: of everything but the waveforms.
        bank_size, bank_seed: of the waveform bank.
        observation: detectors, sampling, window and noise. Of a family of noise curves every
            sample draws a member for each detector.
        population: the laws of the signals.
    """

    samples: int = 4000
    seed: int = 0
    bank_size: int = 2000
    bank_seed: int = 100
    observation: Observation = COMPETITION
    population: Population = COMPETITION_POPULATION

    def __post_init__(self) -> None:
        if self.samples < 4:
            raise UserError(
                f"--samples {self.samples}: expected 4 or more, as errors need two of either class"
            )
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: expected 0 or more")
        if self.bank_seed in TRAINING_SEEDS:
            raise UserError(
                f"bank_seed = {self.bank_seed}: networks are trained on the waveforms of the seeds "
                f"{' and '.join(map(str, TRAINING_SEEDS))}, so choose another"
            )

    @property
    def is_competition(self) -> bool:
        """Whether observation and population are the competition's, for which there is a record."""
        return self.observation == COMPETITION and self.population == COMPETITION_POPULATION

    def key(self) -> str:
        """Return a short name that no other settings share."""
        plain = {"format": [FORMAT, BANK_FORMAT], **self.to_plain()}
        if self.observation != COMPETITION:
            # A curve is its numbers, not its name: a file may be replaced by another.
            plain["curves"] = self.observation.digest
        text = json.dumps(plain, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_plain(self) -> dict[str, Any]:
        """Return the settings in JSON's own types; what is the competition's is left out."""
        names = ("samples", "seed", "bank_size", "bank_seed")
        plain = {name: getattr(self, name) for name in names} | {"snr": list(self.population.snr)}
        if self.observation != COMPETITION:
            plain["observation"] = self.observation.to_plain()
        if replace(self.population, snr=Population.snr) != COMPETITION_POPULATION:
            plain["population"] = self.population.to_plain()
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> HoldoutSettings:
        """Return the settings that `to_plain` described.

        Raises:
            KeyError, TypeError, UserError: they are damaged.
        """
        rest = dict(plain)
        population = Population(snr=rest.pop("snr"))
        if "population" in rest:
            population = Population.from_plain(rest.pop("population"))
        observation = COMPETITION
        if "observation" in rest:
            observation = Observation.from_plain(rest.pop("observation"))
        return cls(**rest, observation=observation, population=population)


@dataclass(frozen=True)
class Holdout:
    """Simulated samples and their truth.

    Attributes:
        strain: (samples, detector, time) float32, mapped from disk.
        targets: (samples,) of 0 and 1.
        snr: (samples,) optimal network SNR of the signals, 0 for noise.
        known: (samples,) the matched filter of the signal that is there, or would have been, at
            its true place and time: <h, x> / |h| with the inverse covariance of the noise as the
            product. No search can reach it. Of a family of noise curves the covariance is that of
            the family's mean, by which networks whiten as well.
        digest: of the strain; scores of other samples are told by it.
    """

    settings: HoldoutSettings
    strain: np.ndarray
    targets: np.ndarray
    snr: np.ndarray
    known: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, start: int, stop: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the strain of some rows, (rows, detector, time) float32."""
        return torch.from_numpy(np.array(self.strain[start:stop])).to(device)


def open_holdout(
    settings: HoldoutSettings, cache_dir: Path | None = None, show_progress: bool | None = None
) -> Holdout:
    """Read the hold-out of these settings; draw and keep it if it is not there yet.

    Args:
        cache_dir: where it and its waveforms are kept; default that of `physics.cache_folder`.
        show_progress: whether to draw bars; default where a person watches.

    Raises:
        UserError: its waveforms are not on disk and LALSuite is not installed, or the window does
            not hold the population.
    """
    header = (cache_dir or cache_folder()) / f"holdout-{settings.key()}.json"
    if header.exists():
        try:
            return load_holdout(header)
        except UserError as error:
            LOGGER.warning("%s; it is drawn again", error)
    draw_holdout(header, settings, cache_dir, show_progress)
    return load_holdout(header)


def load_holdout(header: Path) -> Holdout:
    """Read the hold-out that a header names, and check it against that.

    Raises:
        UserError: the files are missing, damaged or of another format.
    """
    fields = read_json(header)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise UserError(f"{header} is not a hold-out of format {FORMAT}: remove it")
    array = header.with_suffix(".npy")
    try:
        settings = HoldoutSettings.from_plain(fields["settings"])
        columns = {name: np.array(fields[name], float) for name in ("targets", "snr", "known")}
        digest = fields["digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{header} lacks a part of its hold-out ({error}): remove it") from error
    try:
        # Not np.load, which takes zip files as well.
        strain = np.lib.format.open_memmap(array, mode="r")
    # What a damaged header raises depends on where it is damaged.
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, TokenError) as error:
        raise UserError(f"the samples {array} cannot be read ({error}): remove it") from error
    expected = (settings.samples, *settings.observation.shape)
    if strain.shape != expected or strain.dtype != np.float32:
        raise UserError(
            f"{array} holds {strain.dtype} {strain.shape} and its header says float32 {expected}: "
            "remove it"
        )
    if any(values.shape != expected[:1] for values in columns.values()):
        raise UserError(
            f"{header} does not hold the truth of {settings.samples} samples: remove it"
        )
    if digest_of(strain) != digest:
        raise UserError(f"{array} does not hold the samples that its header names: remove it")
    return Holdout(settings, strain, **columns, digest=digest)


def digest_of(strain: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(strain).data, digest_size=16).hexdigest()


def draw_holdout(
    header: Path, settings: HoldoutSettings, cache_dir: Path | None, show_progress: bool | None
) -> None:
    """Draw a hold-out into the array file beside `header`, then write the header.

    On the CPU whatever the device of the scores, so that the samples are the same everywhere, but
    for the last digits, which depend on the kind of CPU.
    """
    observation, population = settings.observation, settings.population
    bank_settings = BankSettings.of(population, observation, settings.bank_size, settings.bank_seed)
    bank = WaveformBank.build(bank_settings, cache_dir, show_progress=show_progress)
    signals = SignalGenerator(bank, population=population, observation=observation)
    noise, whiten = NoiseGenerator(observation=observation), Whiten(observation=observation)
    size = settings.samples
    targets = np.arange(size) % 2
    snr, known = np.empty(size), np.empty(size)
    with atomic_path(header.with_suffix(".npy")) as temporary:
        shape = (size, *observation.shape)
        strain = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        with progress(total=size, desc="hold-out", unit="sample", show=show_progress) as bar:
            for number, start in enumerate(range(0, size, BATCH)):
                stop = min(start + BATCH, size)
                generator = torch.Generator()
                generator.manual_seed(counted_seed(settings.seed, "holdout", number))
                drawn = draw_batch(signals, noise, whiten, generator)
                part = slice(0, stop - start)  # the last batch is drawn whole as well
                strain[start:stop], snr[start:stop], known[start:stop] = (x[part] for x in drawn)
                bar.update(stop - start)
        strain.flush()
        digest = digest_of(strain)
    # Last: where there is a header, the samples are whole.
    write_json(
        header,
        {
            "format": FORMAT,
            "settings": settings.to_plain(),
            "shape": shape,
            "unit": "strain",
            "digest": digest,
            "targets": targets.tolist(),
            "snr": (snr * targets).tolist(),
            "known": known.tolist(),
        },
    )


def draw_batch(
    signals: SignalGenerator, noise: NoiseGenerator, whiten: Whiten, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `BATCH` samples, of which every second holds its signal.

    Returns:
        Strain (BATCH, detector, time) float32; the network SNR of all signals (BATCH,), also of
        those that are left out; and what `Holdout.known` says (BATCH,).
    """
    signal, parameters = signals.sample(BATCH, generator)
    strain = noise.sample(BATCH, generator)
    strain[1::2] += signal[1::2]
    template, data = whiten(signal).double(), whiten(strain).double()
    product = (template * data).sum((1, 2))  # over detectors and time
    known = product / template.square().sum((1, 2)).sqrt()
    return strain.numpy(), parameters["network_snr"].double().numpy(), known.numpy()
