"""The strain of one segment, computed block by block: noise, glitches, and injections.

Files are written from the blocks (continuous_strain.py); `simulate_segment` returns the whole
segment in memory instead. Both are functions of the settings and the number of the segment alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulation.continuous_noise import ContinuousNoise
from simulation.continuous_strain_files import BACKGROUND, FOREGROUND, Segment, waveform_arguments
from simulation.strain_glitches import GlitchPlan
from simulation.strain_injections import InjectedSignal, InjectionPlan
from simulation.strain_settings import StrainSettings


class SegmentStrain:
    """The strain of a segment, block by block.

    Args:
        settings: of the strain.
        segment: one of `settings.segments()`.

    Attributes:
        noises: of each detector in this segment.
    """

    def __init__(self, settings: StrainSettings, segment: Segment) -> None:
        self.settings, self.segment = settings, segment
        self.noises = settings.noises(segment)
        self.injections = SignalAdder(self.plan_injections())
        self.glitches = SignalAdder(self.plan_glitches())

    def plan_injections(self) -> Iterator[InjectedSignal]:
        """Return the signals in the order of their first samples, none without a spacing."""
        settings, segment = self.settings, self.segment
        if settings.spacing is None:
            return iter(())
        plan = InjectionPlan(
            settings.population,
            settings.spacing,
            settings.observation,
            self.noises,
            segment.start,
            segment.duration,
            settings.seed,
            segment.number,
        )
        return plan.signals_by_first_sample()

    def plan_glitches(self) -> Iterator[InjectedSignal]:
        """Return the glitches in the order of their first samples."""
        settings, segment = self.settings, self.segment
        if settings.glitches is None:
            return iter(())
        plan = GlitchPlan(
            settings.glitches,
            settings.observation,
            self.noises,
            segment.start,
            segment.duration,
            settings.seed,
            segment.number,
        )
        return plan.glitches_by_first_sample()

    def blocks(self) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield the strain in order of time; to be called once.

        Yields:
            The number of a block's first sample within the segment, "background" or "foreground",
            and the strain (detector, time) float64 in units of 1e-21. The foreground of a block
            follows its background and is written into the same array.
        """
        observation, segment = self.settings.observation, self.segment
        series = [
            ContinuousNoise(noise, self.settings.seed, segment.number, detector)
            for noise, detector in zip(self.noises, observation.detectors, strict=True)
        ]
        samples, block_size = segment.duration * observation.sample_rate, series[0].block_size
        for number, first in enumerate(range(0, samples, block_size)):
            count = min(block_size, samples - first)
            strain = np.stack([noise.block(number)[:count] for noise in series])
            self.glitches.add(strain, first)
            yield first, BACKGROUND, strain
            if self.settings.spacing is not None:
                self.injections.add(strain, first)
                yield first, FOREGROUND, strain

    def injection_rows(self) -> list[dict[str, Any]]:
        """Return the parameters of all injections in order of time, after the last block."""
        rows = sorted(self.injections.rows, key=lambda row: row["geocent_time"])
        return [row | waveform_arguments(self.settings.population) for row in rows]

    def glitch_rows(self) -> list[dict[str, Any]]:
        """Return time, detector, kind and SNR of all glitches, after the last block."""
        return sorted(self.glitches.rows, key=lambda row: row["time"])


@dataclass
class SimulatedSegment:
    """A segment in memory.

    Attributes:
        segment: when.
        strain: by "background" and "foreground", (detector, time) float32 in units of 1e-21.
        injections: parameters by bilby's names, and SNRs, in order of time.
        glitches: time, detector, kind and SNR of each, in order of time.
    """

    segment: Segment
    strain: dict[str, np.ndarray]
    injections: list[dict[str, Any]]
    glitches: list[dict[str, Any]]


def simulate_segment(settings: StrainSettings, segment: Segment) -> SimulatedSegment:
    """Return the strain of a segment as files would hold it, in memory.

    Args:
        settings: of the strain.
        segment: one of `settings.segments()`.
    """
    observation, simulated = settings.observation, SegmentStrain(settings, segment)
    shape = (observation.num_detectors, segment.duration * observation.sample_rate)
    strain = {kind: np.empty(shape, np.float32) for kind in settings.kinds}
    for first, kind, values in simulated.blocks():
        strain[kind][:, first : first + values.shape[1]] = values
    return SimulatedSegment(segment, strain, simulated.injection_rows(), simulated.glitch_rows())


class SignalAdder:
    """Adds signals to strain that comes block by block; a signal may reach over several blocks.

    Args:
        signals: in the order of their first samples.

    Attributes:
        rows: the parameters of all signals that have been reached.
    """

    def __init__(self, signals: Iterator[InjectedSignal]) -> None:
        self.signals = signals
        self.waiting: InjectedSignal | None = next(signals, None)
        self.present: list[InjectedSignal] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, strain: np.ndarray, first: int) -> None:
        """Add signals to a block, in place.

        Args:
            strain: (detector, time), in units of 1e-21.
            first: number of the block's first sample within the segment.
        """
        end = first + strain.shape[1]
        while self.waiting is not None and self.waiting.first < end:
            self.present.append(self.waiting)
            self.rows.append(self.waiting.row)
            self.waiting = next(self.signals, None)
        for signal in self.present:
            low, high = max(signal.first, first), min(signal.end, end)
            if low < high:
                part = signal.strain[:, low - signal.first : high - signal.first]
                strain[:, low - first : high - first] += part
        self.present = [signal for signal in self.present if signal.end > end]
