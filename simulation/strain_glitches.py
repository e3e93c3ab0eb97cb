"""Glitches in continuous strain: when they come, and what a single detector sees of them.

Waveforms and the laws of their parameters are those of physics/glitches.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from physics.curves import DetectorNoise
from physics.glitches import KINDS, draw_glitches, draw_power_law, optimal_snr, snr_weights
from physics.observation import Observation
from runtime.errors import UserError
from runtime.seeds import counted_seed
from simulation.strain_injections import InjectedSignal

# The longest glitch is scattered light of 20 Hz and Q = 40, whose envelope ends 6 widths of 0.32 s
# from its centre.
HALF_SECONDS = 2


@dataclass(frozen=True)
class GlitchRate:
    """How often glitches come, and how loud they are.

    Args:
        an_hour: in each detector, on average; they come as a Poisson process.
        snr: bounds of the optimal SNR.
        snr_power: the density of the SNR is proportional to snr^(-snr_power); 1 is log-uniform.
        kinds: names of `physics.glitches.KINDS`, all equally frequent. A drop-out has no SNR and is
            no signal that could be added.

    Raises:
        UserError: a number out of its range, or a kind that is not known.
    """

    an_hour: float = 20.0
    snr: tuple[float, float] = (8.0, 200.0)
    snr_power: float = 1.0
    kinds: tuple[str, ...] = tuple(kind for kind in KINDS if kind != "dropout")

    def __post_init__(self) -> None:
        if not 0 < self.an_hour <= 3600:
            raise UserError(
                f"{self.an_hour:g} glitches an hour and detector: expected more than 0 and at most "
                f"3600"
            )
        low, high = self.snr
        if not 0 < low <= high < float("inf"):
            raise UserError(
                f"glitches of SNR {low:g} to {high:g}: expected two rising positive numbers"
            )
        unknown = [kind for kind in self.kinds if kind not in KINDS or kind == "dropout"]
        if unknown or not self.kinds:
            known = ", ".join(kind for kind in KINDS if kind != "dropout")
            raise UserError(f"glitches of the kinds {self.kinds}: choose from {known}")


class GlitchPlan:
    """The glitches of one segment.

    Args:
        glitches: how often and how loud.
        observation: detectors and sampling.
        noises: of each detector in this segment, for the SNR.
        start, duration: of the segment, s.
        *counters: from which the seeds are counted, e.g. (seed, segment).
    """

    def __init__(
        self,
        glitches: GlitchRate,
        observation: Observation,
        noises: tuple[DetectorNoise, ...],
        start: int,
        duration: int,
        *counters: int | str,
    ) -> None:
        self.glitches, self.observation, self.noises = glitches, observation, noises
        self.start, self.counters = start, counters
        self.arrivals: list[tuple[float, int]] = []  # seconds into the segment, and channel
        for channel, detector in enumerate(observation.detectors):
            rng = np.random.default_rng(counted_seed("glitches", *counters, detector))
            count = rng.poisson(glitches.an_hour * duration / 3600)
            # Whole glitches only: none begins before the segment or ends after it.
            times = rng.uniform(HALF_SECONDS, duration - HALF_SECONDS, count)
            self.arrivals += [(float(time), channel) for time in times]
        self.arrivals.sort()

    def __len__(self) -> int:
        return len(self.arrivals)

    def glitches_by_first_sample(self) -> Iterator[InjectedSignal]:
        """Yield the glitches in the order in which they begin."""
        for number in range(len(self)):
            yield self.glitch(number)

    def glitch(self, number: int) -> InjectedSignal:
        """Return one glitch, with zeros in the other detectors."""
        law, rate = self.glitches, self.observation.sample_rate
        time, channel = self.arrivals[number]
        device = torch.device("cpu")
        generator = torch.Generator().manual_seed(counted_seed("glitch", *self.counters, number))
        kind = torch.randint(len(law.kinds), (1,), generator=generator)
        position = time * rate
        whole = int(position)
        half = HALF_SECONDS * rate
        index = torch.arange(-half, half)
        # The centre lies between two samples, as arrivals know nothing of the sampling.
        centre = torch.tensor([position - whole], dtype=torch.float32)
        wave, _ = draw_glitches(kind, law.kinds, centre, index, float(rate), generator)
        weights = snr_weights((self.noises[channel],), len(index), device)[0]
        snr = draw_power_law((1,), law.snr, law.snr_power, device, generator)
        scaled = wave * (snr / optimal_snr(wave, weights))  # (samples,)
        strain = np.zeros((self.observation.num_detectors, len(index)))
        strain[channel] = scaled.double().numpy()
        row = {
            "time": self.start + time,
            "detector": self.observation.detectors[channel],
            "kind": law.kinds[int(kind)],
            "snr": float(snr),
        }
        return InjectedSignal(whole - half, strain, row)
