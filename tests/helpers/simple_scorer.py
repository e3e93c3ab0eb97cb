"""A scorer of stretches with one template: enough to find loud mergers, and quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import find_peaks

from physics.observation import Observation
from physics.population import Population
from search.peaks import Peaks
from simulation.strain_injections import whole_polarisations

COINCIDENCE = 0.012  # s, between H1 and L1


@dataclass
class OneTemplateScorer:
    """The largest sum of squared SNRs within the time light needs, of one binary.

    Attributes:
        observation: of the strain.
        masses: of the template.
    """

    observation: Observation
    masses: tuple[float, float] = (35.0, 35.0)
    squared: dict[str, np.ndarray] = field(default_factory=dict)
    start: float = 0.0

    def prepare(self, stretch) -> None:
        """Filter the strain of every detector with the template."""
        self.start, rate = stretch.stretch.start, stretch.rate
        self.squared = {}
        for name, strain in stretch.strain.items():
            size = len(strain)
            duration = size / rate
            row = {
                "mass_1": self.masses[0],
                "mass_2": self.masses[1],
                "luminosity_distance": 1000.0,
                "phase": 0.0,
                "theta_jn": 0.0,
            } | dict.fromkeys(("a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl"), 0.0)
            template, _ = whole_polarisations(
                row, Population(approximant="IMRPhenomD", spins=_no_spins()), rate, duration
            )
            noise = self.observation.noise(self.observation.detectors.index(name))
            power = noise.psd_on_grid(size)
            inverse = np.where(power > 0, 1 / np.where(power > 0, power, 1), 0)
            norm = 4 / duration * np.sum(np.abs(template) ** 2 * inverse)
            spectrum = np.zeros(size, complex)
            # 4 int h* s / S exp(2 pi i f t) df for positive frequencies only
            data = np.fft.rfft(strain) / rate
            spectrum[: len(data)] = data * template.conj() * inverse
            self.squared[name] = np.abs(4 * rate * np.fft.ifft(spectrum)) ** 2 / norm

    def peaks(self, shifts: Mapping[str, float], least: float) -> Peaks:
        """Return local maxima, at the times of the first detector."""
        from scipy.ndimage import maximum_filter1d

        rate = self.observation.sample_rate
        first, *others = list(self.squared)
        total = np.roll(self.squared[first], -round(shifts.get(first, 0.0) * rate))
        reach = 2 * round(COINCIDENCE * rate) + 1
        for name in others:
            shifted = np.roll(self.squared[name], -round(shifts.get(name, 0.0) * rate))
            total = total + maximum_filter1d(shifted, reach)
        edge = 2 * rate  # where filters have wrapped around
        total[:edge] = total[-edge:] = 0
        found, _ = find_peaks(total, height=least, distance=round(0.1 * rate))
        return Peaks.of_scores(
            self.start + found / rate, total[found], len(self.observation.detectors)
        )

    def live_time(self, shifts: Mapping[str, float]) -> float:
        return len(next(iter(self.squared.values()))) / self.observation.sample_rate - 4


def _no_spins():
    from configuration.class_with_arguments import Part
    from physics.spin_laws import NoSpins

    return Part(NoSpins)
