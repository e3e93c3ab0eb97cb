"""Our signals and noise as they stand beside those of pycbc and bilby, and whether noise agrees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.timing import one_core
from benchmarks.rivals.comparison import Comparison
from physics.bank_settings import BankSettings, draw_parameters
from physics.constants import EARTH_ROTATION, GPS_START, SIDEREAL_TIME, STRAIN_UNIT
from physics.noise import NoiseGenerator
from physics.observation import COMPETITION
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from physics.waveforms import compute_waveforms
from runtime.errors import UserError

POWER_TOLERANCE = 0.2  # of the power in an octave, of some tens of windows


@dataclass(frozen=True)
class Binaries:
    """Binaries and where they are.

    Attributes:
        settings: of the bank that they are.
        parameters: (binary, columns), as `Population.columns` has them.
        places: of each, bilby's ra, dec, psi, phase and geocent_time.
        drawn: the same as the arguments of `SignalGenerator.project`.
    """

    settings: BankSettings
    parameters: np.ndarray
    places: list[dict[str, float]]
    drawn: dict[str, torch.Tensor]

    @property
    def named(self) -> list[dict[str, float]]:
        """The parameters of each binary by name."""
        columns = self.settings.population.columns
        return [dict(zip(columns, map(float, row), strict=True)) for row in self.parameters]


def draw_binaries(settings: BenchmarkSettings) -> Binaries:
    """Draw binaries of the competition's law; the window begins at GPS_START."""
    count = settings.choose(cpu=16, cuda=16, quick=2)
    bank = BankSettings(size=count, seed=7)
    rng = np.random.default_rng(3)
    low, high = bank.population.merger_range(COMPETITION.window)
    time = rng.uniform(low, high, count)
    values = {
        "longitude": rng.uniform(0, math.tau, count),
        "dec": np.arcsin(rng.uniform(-1, 1, count)),
        "psi": rng.uniform(0, math.pi, count),
        "phase": rng.uniform(0, math.tau, count),
        "merger_time": time,
    }
    ra = values["longitude"] + SIDEREAL_TIME + EARTH_ROTATION * time
    places = [
        {
            "ra": float(ra[row]),
            **{name: float(values[name][row]) for name in ("dec", "psi", "phase")},
            "geocent_time": GPS_START + float(time[row]),
        }
        for row in range(count)
    ]
    drawn = {
        name: torch.tensor(each, dtype=torch.float32, device=settings.device)
        for name, each in values.items()
    }
    drawn["waveform"] = torch.arange(count, device=settings.device)
    return Binaries(bank, draw_parameters(bank), places, drawn)


@dataclass(frozen=True)
class OwnSignals:
    """Our side of a comparison of signals.

    Attributes:
        batch: signals that `placed` draws.
    """

    binaries: Binaries
    generator: SignalGenerator
    batch: int

    def fresh(self) -> torch.Tensor:
        """Compute the binaries' waveforms and place them, (binary, detector, time), in 1e-21."""
        binaries = self.binaries
        waveforms = compute_waveforms(binaries.parameters, binaries.settings)
        self.generator.replace_binaries(0, waveforms, binaries.parameters)
        return self.generator.project(**binaries.drawn)

    def placed(self) -> torch.Tensor:
        """Draw signals of the waveforms that are there already, each at a place of its own."""
        return self.generator.sample(self.batch)[0]


def own_signals(settings: BenchmarkSettings, binaries: Binaries) -> OwnSignals:
    waveforms = compute_waveforms(binaries.parameters, binaries.settings)
    bank = WaveformBank(waveforms, binaries.parameters, binaries.settings)
    batch = settings.choose(cpu=64, cuda=1024, quick=2)
    return OwnSignals(binaries, SignalGenerator(bank, settings.device), batch)


@dataclass(frozen=True)
class OwnNoise:
    """Our side of a comparison of noise.

    Attributes:
        batch: windows that ours draws at once.
        few: windows that the other side draws in a timing.
    """

    generator: NoiseGenerator
    batch: int
    few: int = field(default=8)

    def sample(self, count: int) -> torch.Tensor:
        """Draw windows of noise, (count, detector, time), in 1e-21."""
        return self.generator.sample(count) / STRAIN_UNIT


def own_noise(settings: BenchmarkSettings) -> OwnNoise:
    batch = settings.choose(cpu=64, cuda=1024, quick=16)
    return OwnNoise(NoiseGenerator(settings.device), batch, settings.choose(8, 8, 1))


def compare_noise(
    key: str,
    other: str,
    noise: OwnNoise,
    draw: Callable[[int], torch.Tensor],
    settings: BenchmarkSettings,
) -> Comparison:
    """Return the comparison of our noise with another package's, whose powers must agree.

    Args:
        key: of the comparison.
        other: what is compared with.
        noise: ours.
        draw: returns so many windows of the other's noise, (window, detector, time).
    """
    difference = band_powers_agree(noise.sample(noise.batch), draw(noise.batch))
    return Comparison(
        key,
        "noise of three detectors, 2 s",
        other,
        lambda: noise.sample(noise.batch),
        lambda: draw(noise.few),
        (noise.batch, noise.few),
        f"powers in octaves differ by {difference:.0%}, as random noise does",
        difference,
        {"batch": noise.batch},
        around=lambda: one_core(settings.device),
    )


def band_powers_agree(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference of the power in an octave, of any detector, as a share of it.

    Args:
        ours, theirs: (window, detector, time) of noise.

    Raises:
        UserError: it is larger than chance makes it: the two draw other noise.
    """
    powers = []
    for x in (ours, theirs):
        x = x.cpu().double()
        window = torch.hann_window(x.shape[-1], dtype=x.dtype)
        power = torch.fft.rfft(x * window).abs().square().mean(0)  # (detector, frequency)
        edges = [round(frequency * COMPETITION.window) for frequency in (32, 64, 128, 256, 512)]
        bands = [power[:, low:high].sum(1) for low, high in itertools.pairwise(edges)]
        powers.append(torch.stack(bands))
    difference = float((powers[0] / powers[1] - 1).abs().max())
    if not difference < POWER_TOLERANCE:
        raise UserError(
            f"the powers of both kinds of noise differ by {difference:.0%}, more than "
            f"{POWER_TOLERANCE:.0%}, so their times are not compared"
        )
    return difference
