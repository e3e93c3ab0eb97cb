"""What continuous strain is simulated, and when: its settings and its segments."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from configuration.json_types import to_plain
from physics.constants import GPS_START
from physics.curves import DetectorNoise
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from runtime.errors import UserError
from runtime.seeds import counted_seed
from simulation.continuous_strain_files import BACKGROUND, FOREGROUND, Segment
from simulation.strain_glitches import GlitchRate
from simulation.strain_injections import AFTER_MERGER

FORMAT = 1  # raise it when the same settings would give other strain
SHORTEST_SEGMENT = 16  # s
MOST_SECONDS = 10 * 366 * 86_400  # ten years


@dataclass(frozen=True)
class StrainSettings:
    """What strain is simulated.

    Args:
        seconds: of strain in all segments together.
        observation: detectors, sampling rate and noise curves. Of a family of curves each detector
            draws one in each segment.
        population: what injections are drawn from.
        spacing: shortest and longest time between the arrivals of two injections, s; None makes
            no foreground.
        seed: of everything.
        longest_segment: s; all segments are equally long, to a second, and none longer.
        gap: between two segments, s.
        start: GPS time of the first segment, s.
        glitches: added to the noise of single detectors, in background and foreground alike.

    Raises:
        UserError: a number is out of its range, or segments are too short.
    """

    seconds: int
    observation: Observation = COMPETITION
    population: Population = COMPETITION_POPULATION
    spacing: tuple[float, float] | None = (24.0, 30.0)
    seed: int = 2021
    longest_segment: int = 4096
    gap: int = 64
    start: int = GPS_START
    glitches: GlitchRate | None = None

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("gap", 0), ("start", 0), ("longest_segment", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} of simulated strain is {getattr(self, name)}: expected {least} or more"
                )
        if self.seconds > MOST_SECONDS:
            raise UserError(
                f"{self.seconds} s of strain: expected {MOST_SECONDS} s (ten years) or less"
            )
        if self.spacing is not None:
            low, high = self.spacing
            if not 1 <= low <= high < math.inf:
                raise UserError(
                    f"injections every {low:g} to {high:g} s: expected two rising numbers of 1 s "
                    f"or more, e.g. 24-30"
                )
        shortest = min((segment.duration for segment in self.segments()), default=self.seconds)
        needed = max(SHORTEST_SEGMENT, math.ceil(self.observation.window))
        if self.spacing is not None:
            needed = max(needed, math.ceil(self.spacing[1] + AFTER_MERGER))
        if shortest < needed:
            raise UserError(
                f"{self.seconds} s of strain in segments of {self.longest_segment} s or less makes "
                f"segments of {shortest} s, and one of {needed} s is the shortest that holds a "
                f"window{' and an injection' if self.spacing else ''}: ask for more hours or "
                f"longer segments"
            )

    def segments(self) -> list[Segment]:
        """Return all segments in order of time; the first ones are a second longer if need be."""
        count = max(math.ceil(self.seconds / self.longest_segment), 0)
        segments, start = [], self.start
        for number in range(count):
            duration = self.seconds // count + (number < self.seconds % count)
            segments.append(Segment(number, start, duration))
            start += duration + self.gap
        return segments

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which files there are of each segment and detector."""
        return (BACKGROUND,) if self.spacing is None else (BACKGROUND, FOREGROUND)

    def noises(self, segment: Segment) -> tuple[DetectorNoise, ...]:
        """Return the noise of each detector in a segment."""
        chosen = []
        for channel, detector in enumerate(self.observation.detectors):
            noise = self.observation.noise(channel)
            if noise.curve.members:
                seed = counted_seed("curve of a segment", self.seed, segment.number, detector)
                member = np.random.default_rng(seed).integers(len(noise.curve.members))
                noise = DetectorNoise(
                    noise.curve.members[member], noise.sample_rate, noise.min_frequency
                )
            chosen.append(noise)
        return tuple(chosen)

    def to_plain(self) -> dict[str, Any]:
        """Return all that decides the content of the files, in JSON's own types."""
        observation = self.observation
        # Strain without glitches is described as before there were any: its folders stay known.
        glitches = {} if self.glitches is None else {"glitches": asdict(self.glitches)}
        return to_plain(
            {
                "seconds": self.seconds,
                "observation": {
                    "detectors": observation.detectors,
                    "sample_rate": observation.sample_rate,
                    "window": observation.window,
                },
                "min_frequency": observation.min_frequency,
                "curves": observation.curves,
                "curve_digests": [
                    observation.noise_curve(d).digest for d in range(observation.num_detectors)
                ],
                "injections": self.spacing,
                "population": self.population if self.spacing else None,
                "seed": self.seed,
                "segment": self.longest_segment,
                "gap": self.gap,
                "gps_start": self.start,
                "format": FORMAT,
                **glitches,
            }
        )
