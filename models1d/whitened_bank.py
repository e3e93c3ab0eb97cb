"""The waveforms of a bank as a detector sees them: whitened, and of norm one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from physics.bank_settings import BankSettings
from physics.constants import LIGHT_TIME
from physics.curves import DetectorNoise
from physics.detectors import Network
from physics.observation import Observation
from physics.population import Population
from physics.waveform_bank import WaveformBank
from signal_transforms import whitening_operators

WHITENED_AT_A_TIME = 256  # waveforms


@dataclass(frozen=True)
class BankInWindow:
    """A waveform bank, and the windows and the noise in which its waveforms are seen.

    Attributes:
        bank: settings of the waveform bank.
        noises: of the detectors.
        samples: of the window, before the decimation.
        merger: sample of the decimated window at which mergers are placed.
        spread: samples, decimated, that arrivals at a detector lie before it and after it.
        decimate: decimation of the whitening.
    """

    bank: BankSettings
    noises: tuple[DetectorNoise, ...]
    samples: int
    merger: int
    spread: int
    decimate: int

    @classmethod
    def of(
        cls,
        observation: Observation,
        population: Population,
        channels: Sequence[int],
        decimate: int,
        bank_size: int,
        bank_seed: int,
    ) -> BankInWindow:
        """Return the bank of a population, its mergers in the middle of the arrival times.

        Args:
            observation: sampling, window and noise.
            population: law of the binaries.
            channels: of the detectors whose filters are wanted.
            decimate: decimation of the whitening.
            bank_size, bank_seed: of the bank.

        Raises:
            UserError: the window does not hold the binaries.
        """
        earliest, latest = population.merger_range(observation.window)
        rate = observation.sample_rate / decimate
        return cls(
            bank=BankSettings.of(population, observation, bank_size, bank_seed),
            noises=tuple(observation.noise(channel) for channel in channels),
            samples=observation.num_samples,
            merger=round((earliest + latest) / 2 * rate),
            spread=math.ceil(((latest - earliest) / 2 + LIGHT_TIME) * rate),
            decimate=decimate,
        )

    @property
    def rate(self) -> float:
        """Samples a second of the decimated window."""
        return self.noises[0].sample_rate / self.decimate

    @property
    def room(self) -> int:
        """Samples of the decimated window from the merger on."""
        return self.samples // self.decimate - self.merger

    def without_repetition(self) -> BankInWindow:
        """Return the same with the noises of one curve once, and so for any number of detectors."""
        return replace(self, noises=tuple(dict.fromkeys(self.noises)))

    def whitened(self, noise: DetectorNoise) -> Tensor:
        """Return the whitened waveforms as a detector sees them, each polarisation of norm one.

        They are whitened exactly, as `transforms.Whiten(decimate=…)` whitens strain. What lies
        outside the window is lost.

        Returns:
            (binary, 2, samples / decimate) float32.
        """
        # (binary, 2, stretch)
        waveforms = torch.as_tensor(WaveformBank.build(self.bank).waveforms)
        # Cut a window out of the bank's series in which the merger lies where it is wanted.
        first = self.bank.series.before - self.merger * self.decimate
        waveforms = waveforms[..., first : first + self.samples]
        whiten = whitening_operators.design_whitening(
            noise, self.samples, None, 8, self.decimate, torch.device("cpu")
        )
        # A bank and a whitening have the same unit of strain. The whitening takes rows:
        # (binaries, 2, samples) -> (binaries x 2, samples) -> (binaries, 2, time)
        white = torch.cat(
            [
                whiten(part.flatten(0, 1)).unflatten(0, (-1, 2))
                for part in waveforms.split(WHITENED_AT_A_TIME)
            ]
        )
        return white / white.norm(dim=-1, keepdim=True)


def seen_by_a_detector(white: Tensor, seed: int = 0) -> Tensor:
    """Return signals of norm one from isotropic directions: (binary, 2, time) -> (binary, time).

    The distribution of antenna patterns over all directions is the same for all detectors whose
    arms are perpendicular. The directions are counted from the seed alone.
    """
    rng = np.random.default_rng(seed)
    count = len(white)
    longitude, sine, psi = rng.uniform((0, -1, 0), (math.tau, 1, math.pi), (count, 3)).T
    directions = (torch.tensor(x, dtype=torch.float32) for x in (longitude, np.arcsin(sine), psi))
    plus, cross = Network(("H1",)).antenna_patterns(*directions)  # each (binary, 1)
    seen = plus * white[:, 0] + cross * white[:, 1]
    return seen / seen.norm(dim=-1, keepdim=True)


def quadratures_of(plus: Tensor) -> Tensor:
    """Return whitened waveforms and their Hilbert transforms: (..., time) -> (..., 2, time)."""
    return torch.stack([plus, quadrature(plus)], dim=-2)


def quadrature(x: Tensor) -> Tensor:
    """Return the Hilbert transform of x (..., time): a cosine becomes a sine."""
    # exp(-i pi / 2) = -i: every positive frequency is delayed by a quarter of its period.
    spectrum = torch.fft.rfft(x)
    return torch.fft.irfft(spectrum * -1j, x.shape[-1])
