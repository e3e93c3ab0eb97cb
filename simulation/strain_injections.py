"""Signals for continuous strain: when they arrive, what they are, and what each detector sees.

A signal is whole: it is not cut to a window, but begins where its lowest frequency does. It is
placed at its arrival time exactly, not at the nearest sample, with the antenna patterns and delays
of the Earth's orientation at its merger. bilby, given a row of the table, computes the same signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from physics.bank_settings import DISTANCE
from physics.constants import STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.detectors import Network
from physics.inspiral import inspiral_seconds
from physics.observation import Observation
from physics.polarisations import highest_m, is_in_frequency, polarisations
from physics.population import Population
from runtime.seeds import counted_seed

# A waveform in the frequency domain that begins abruptly at a frequency rings before it begins in
# time. It begins at this fraction of its lowest frequency instead, and grows from there to its
# full amplitude, which it has from the lowest frequency on.
RAMP_FROM = 0.8
AFTER_MERGER = 1.0  # s: ring-down, and 21 ms of delay at a detector
SHORTEST_SERIES = 8.0  # s


# --- one waveform -------------------------------------------------------------------------------


def series_duration(mass_1: float, mass_2: float, population: Population) -> float:
    """Return the length of the periodic series that holds a whole signal, s, a power of two.

    A mode m has the frequency f when the (2, 2) mode has 2 f / m. A tenth is added for what
    `inspiral_seconds` neglects.
    """
    m = max(highest_m(population.approximant, population.modes), 2)
    tau = inspiral_seconds(RAMP_FROM * population.min_frequency * 2 / m, mass_1, mass_2)
    # 2 s: the ramp of the spectrum lets a signal begin gradually, a little before its first cycle
    return max(SHORTEST_SERIES, 2.0 ** math.ceil(math.log2(1.1 * tau + 2.0 + AFTER_MERGER)))


def whole_polarisations(
    row: Mapping[str, Any], population: Population, sample_rate: int, duration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of h+ and hx of a signal that begins smoothly, the merger at time zero.

    Args:
        row: parameters by bilby's names.
        population: waveform model and frequencies.
        sample_rate: Hz.
        duration: s, of the periodic series that the spectra stand for.

    Returns:
        Two complex128 arrays at the frequencies of `rfft`, in units of 1e-21 strain / Hz. From
        `population.min_frequency` on they are those of bilby.

    Raises:
        UserError: there is no such waveform model, or it cannot be computed for this binary.
    """
    # A model in the time domain begins below the lowest frequency and is tapered by LALSimulation.
    begins_abruptly = is_in_frequency(population.approximant)
    full = population.min_frequency
    start = RAMP_FROM * full if begins_abruptly else full
    found = polarisations(
        row,
        population.approximant,
        sample_rate,
        duration,
        start,
        population.reference_frequency,
        row["luminosity_distance"],
        population.modes,
        row["phase"],
    )
    size = round(sample_rate * duration) // 2 + 1
    weights = np.ones(size)
    if begins_abruptly:
        rise = (np.arange(size) / duration - start) / (full - start)
        weights = np.sin(np.pi / 2 * np.clip(rise, 0, 1)) ** 2
    spectra = np.zeros((2, size), complex)
    for spectrum, part in zip(spectra, found, strict=True):
        spectrum[: len(part)] = part[:size]
    spectra *= weights / STRAIN_UNIT
    return spectra[0], spectra[1]


# --- signals in the detectors -------------------------------------------------------------------


@dataclass(frozen=True)
class InjectedSignal:
    """A signal in all detectors of a segment.

    Attributes:
        first: number of its first sample within the segment; negative if it began earlier.
        strain: (detector, time) float64, in units of 1e-21.
        row: its parameters by bilby's names, and the optimal SNR in each detector.
    """

    first: int
    strain: np.ndarray
    row: dict[str, Any]

    @property
    def end(self) -> int:
        """Number of the sample after its last one."""
        return self.first + self.strain.shape[1]


def draw_times(
    start: float, end: float, spacing: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return arrival times in a segment, each later than the one before it by a random time.

    Args:
        start, end: of the segment, GPS, s. The first signal arrives one spacing after the start;
            the last at least `AFTER_MERGER` before the end.
        spacing: shortest and longest time between two, s; it is drawn uniformly between them.
    """
    count = math.ceil((end - start) / spacing[0])
    times = start + np.cumsum(rng.uniform(*spacing, count))
    return times[times <= end - AFTER_MERGER]


class InjectionPlan:
    """The injections of one segment, drawn beforehand and computed one after another.

    Args:
        population: what they are drawn from; directions are isotropic where no prior says
            otherwise. Without a law of distance, signals are scaled to a drawn network SNR.
        spacing: shortest and longest time between two, s.
        observation: detectors and sampling.
        noises: of each detector in this segment, for the SNR.
        start, duration: of the segment, s.
        *counters: from which the seed is counted, e.g. (seed, segment).
    """

    def __init__(
        self,
        population: Population,
        spacing: tuple[float, float],
        observation: Observation,
        noises: tuple[DetectorNoise, ...],
        start: int,
        duration: int,
        *counters: int | str,
    ) -> None:
        self.population, self.observation = population, observation
        self.noises, self.start = noises, start
        rng = np.random.default_rng(counted_seed("injections", *counters))
        self.times = draw_times(start, start + duration, spacing, rng)
        self.parameters = population.draw_injections(len(self.times), rng)
        # With a density of 1 / snr^2, 1 / snr is uniform.
        low, high = population.snr
        self.wanted_snr = 1 / rng.uniform(1 / high, 1 / low, len(self.times))
        self.parameters["geocent_time"] = self.times
        self.network = Network(observation.detectors)

    def __len__(self) -> int:
        return len(self.times)

    def signals_by_first_sample(self) -> Iterator[InjectedSignal]:
        """Yield the signals in the order in which they begin; a long one may overtake others."""
        for number in np.argsort([self.place(number)[0] for number in range(len(self))]):
            yield self.signal(int(number))

    def place(self, number: int) -> tuple[int, int, float]:
        """Return where a signal lies.

        Returns:
            The number of its first sample within the segment, its samples, and the time by which
            the merger at the geocentre is later than a sample, s.
        """
        fs = self.observation.sample_rate
        masses = self.parameters["mass_1"][number], self.parameters["mass_2"][number]
        size = round(series_duration(*masses, self.population) * fs)
        position = (self.times[number] - self.start) * fs
        whole = math.floor(position)
        return whole - (size - round(AFTER_MERGER * fs)), size, (position - whole) / fs

    def signal(self, number: int) -> InjectedSignal:
        """Return one signal as all detectors see it."""
        import scipy.fft

        fs = self.observation.sample_rate
        row = {name: float(values[number]) for name, values in self.parameters.items()}
        scaled = "luminosity_distance" not in row
        row.setdefault("luminosity_distance", DISTANCE)
        first, size, late = self.place(number)
        duration = size / fs
        plus, cross = whole_polarisations(row, self.population, fs, duration)  # (frequency,) each
        f_plus, f_cross, delays = self.responses(row)  # (detector,) each
        spectra = f_plus[:, None] * plus + f_cross[:, None] * cross  # (detector, frequency)
        snr = np.array(
            [
                optimal_snr(spectrum, noise, duration, self.population.min_frequency)
                for spectrum, noise in zip(spectra, self.noises, strict=True)
            ]
        )
        if scaled:
            scale = self.wanted_snr[number] / np.linalg.norm(snr)
            row["luminosity_distance"] /= scale
            spectra, snr = spectra * scale, snr * scale
        row["network_snr"] = float(np.linalg.norm(snr))
        for detector, value in zip(self.observation.detectors, snr, strict=True):
            row[f"snr_{detector}"] = float(value)
        tau = inspiral_seconds(self.population.min_frequency, row["mass_1"], row["mass_2"])
        row["signal_start"] = row["geocent_time"] - tau

        # The merger at the geocentre lies between two samples of the segment. Whole samples are
        # a matter of where the series is added; the fraction and the delay are a phase.
        shift = late + delays[:, None]  # s, (detector, 1)
        frequencies = np.arange(spectra.shape[1]) / duration
        spectra *= np.exp(-2j * np.pi * frequencies * shift)
        # The sampling rate turns the inverse discrete transform into the inverse Fourier integral.
        strain = scipy.fft.irfft(spectra, size) * fs  # (detector, time)
        # The series is periodic with the merger at its beginning: what follows it comes first.
        strain = np.roll(strain, -round(AFTER_MERGER * fs), axis=1)
        return InjectedSignal(first, strain, row)

    def responses(self, row: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return F+, Fx and the delay (s) of each detector, (detector,) float64.

        The Earth is as it stands when the merger passes its centre, as in bilby.
        """
        import lal

        sidereal = lal.GreenwichMeanSiderealTime(lal.LIGOTimeGPS(row["geocent_time"]))
        values = [(row["ra"] - sidereal) % math.tau, row["dec"], row["psi"]]
        longitude, dec, psi = (torch.tensor(value, dtype=torch.float32) for value in values)
        plus, cross = self.network.antenna_patterns(longitude, dec, psi)
        delays = self.network.delays(longitude, dec)
        return tuple(part.double().numpy() for part in (plus, cross, delays))


def optimal_snr(
    spectrum: np.ndarray, noise: DetectorNoise, duration: float, min_frequency: float
) -> float:
    """Return rho, with rho^2 = 4 times the integral of |h(f)|^2 / S(f) over the frequencies.

    Args:
        spectrum: (frequency,) of `rfft` of a series of this duration, 1e-21 strain / Hz.
        noise: of the detector.
        duration: s.
        min_frequency: Hz, where the integral begins; the noise may begin later.
    """
    frequencies = np.arange(len(spectrum)) / duration
    power = noise.psd_on_grid(2 * (len(spectrum) - 1))
    used = (frequencies >= min_frequency) & (power > 0)
    return math.sqrt(4 / duration * np.sum(np.abs(spectrum[used]) ** 2 / power[used]))
