"""Signals for continuous strain: when they arrive, what they are, and what each detector sees.

A signal is whole: it is not cut to a window, but begins where its lowest frequency does. It is
placed at its arrival time exactly, not at the nearest sample, with the antenna patterns and delays
of the Earth's orientation at its merger. bilby, given a row of the table, computes the same signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from physics.constants import SOLAR_MASS_SECONDS, STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.detectors import Network
from physics.observation import Observation
from physics.population import PARAMETERS
from physics.waveforms import DISTANCE, BankSettings, draw_parameters
from runtime.optional_packages import require
from runtime.seeds import counted_seed

# A waveform in the frequency domain that begins abruptly at a frequency rings before it begins in
# time. It begins at this fraction of its lowest frequency instead, and grows from there to its
# full amplitude, which it has from the lowest frequency on.
RAMP_FROM = 0.8
AFTER_MERGER = 1.0  # s: ring-down, and 21 ms of delay at a detector
SHORTEST_SERIES = 8.0  # s
HIGHEST_MODE = 4  # m of the modes of XPHM and its like


class InjectionLaw(Protocol):
    """What injections are drawn from.

    Attributes:
        approximant: LALSimulation's name of the waveform model.
        min_frequency: Hz, from which signals have their full amplitude.
        reference_frequency: Hz, at which spins and phase are defined.
        snr: bounds of the network SNR, whose density is proportional to 1 / snr^2; used where no
            distances are drawn.
    """

    approximant: str
    min_frequency: float
    reference_frequency: float
    snr: tuple[float, float]

    def draw_injections(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return parameters by bilby's names, each (count,): all but the arrival time.

        "luminosity_distance" (Mpc) may be absent; signals are then scaled to a network SNR.
        """


@dataclass(frozen=True)
class IsotropicBankLaw:
    """The binaries of the waveform bank from all directions; density of network SNRs 1 / snr^2."""

    bank: BankSettings = field(default_factory=BankSettings)
    snr: tuple[float, float] = (3.7, 27.0)
    approximant: str = "IMRPhenomPv2"

    @property
    def min_frequency(self) -> float:
        return self.bank.min_frequency

    @property
    def reference_frequency(self) -> float:
        return self.bank.reference_frequency

    def draw_injections(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        seed = int(rng.integers(2**62))
        bank = BankSettings(**{**vars(self.bank), "size": count, "seed": seed})
        drawn = dict(zip(PARAMETERS, draw_parameters(bank).T, strict=True))
        drawn["ra"], drawn["phase"] = rng.uniform(0, 2 * np.pi, (2, count))
        drawn["dec"] = np.arcsin(rng.uniform(-1, 1, count))
        drawn["psi"] = rng.uniform(0, np.pi, count)
        return drawn


# --- one waveform -------------------------------------------------------------------------------


def series_duration(mass_1: float, mass_2: float, law: InjectionLaw) -> float:
    """Return the length of the periodic series that holds a whole signal, s, a power of two.

    A mode m has the frequency f when the (2, 2) mode has 2 f / m. A tenth is added for what
    `chirp_time` neglects.
    """
    mode = HIGHEST_MODE if has_higher_modes(law.approximant) else 2
    tau = chirp_time(mass_1, mass_2, RAMP_FROM * law.min_frequency * 2 / mode)
    # 2 s: the ramp of the spectrum lets a signal begin gradually, a little before its first cycle
    return max(SHORTEST_SERIES, 2.0 ** math.ceil(math.log2(1.1 * tau + 2.0 + AFTER_MERGER)))


def chirp_time(mass_1: float, mass_2: float, frequency: float) -> float:
    """Return how long before its merger the (2, 2) mode of a binary has a frequency, s.

    At leading order it is tau = 5 / 256 (pi f)^(-8/3) M^(-5/3), with the chirp mass M in seconds
    (Cutler and Flanagan, Physical Review D 49, 2658, 1994, equation 2.19).

    Args:
        mass_1, mass_2: in the detector frame, solar masses.
        frequency: f, Hz.
    """
    chirp_mass = (mass_1 * mass_2) ** 0.6 / (mass_1 + mass_2) ** 0.2 * SOLAR_MASS_SECONDS
    return 5 / 256 * (math.pi * frequency) ** (-8 / 3) * chirp_mass ** (-5 / 3)


def has_higher_modes(approximant: str) -> bool:
    """Return whether a waveform model has modes beyond (2, +-2), judged by its name."""
    return any(word in approximant for word in ("HM", "_ROM_HM", "NRSur", "XO4"))


def lal_polarisations(
    parameters: Mapping[str, float], law: InjectionLaw, sample_rate: float, duration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of h+ and hx by LALSimulation, the merger at time zero.

    Args:
        parameters: by bilby's names.
        law: approximant and frequencies.
        sample_rate: Hz.
        duration: s, of the periodic series that the spectra stand for.

    Returns:
        Two complex128 arrays at the frequencies of `rfft`, in units of 1e-21 strain / Hz. From
        `law.min_frequency` on they are those of bilby.
    """
    require("lalsimulation", "sim")
    import lal
    import lalsimulation

    p = {name: float(value) for name, value in parameters.items()}
    masses = p["mass_1"] * lal.MSUN_SI, p["mass_2"] * lal.MSUN_SI
    approximant = lalsimulation.GetApproximantFromString(law.approximant)
    in_frequency = lalsimulation.SimInspiralImplementedFDApproximants(approximant)
    inclination, *spins = lalsimulation.SimInspiralTransformPrecessingNewInitialConditions(
        *(p[name] for name in ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12", "a_1", "a_2")),
        *masses,
        law.reference_frequency,
        p["phase"],
    )
    # A model in the time domain begins below the lowest frequency and is tapered by LALSimulation.
    function = (
        lalsimulation.SimInspiralChooseFDWaveform if in_frequency else lalsimulation.SimInspiralFD
    )
    start = law.min_frequency * (RAMP_FROM if in_frequency else 1)
    series = function(
        *masses,
        *spins,
        p["luminosity_distance"] * 1e6 * lal.PC_SI,
        inclination,
        p["phase"],
        0.0,
        0.0,
        0.0,
        1 / duration,
        start,
        sample_rate / 2,
        law.reference_frequency,
        lal.CreateDict(),
        approximant,
    )
    size = round(sample_rate * duration) // 2 + 1
    frequencies = np.arange(size) / duration
    if in_frequency:
        rise = (frequencies - start) / (law.min_frequency - start)
        weights = np.sin(np.pi / 2 * np.clip(rise, 0, 1)) ** 2
    else:
        # The series begins at its epoch, so that the merger is not at time zero.
        late = duration + float(series[0].epoch)
        weights = np.exp(-2j * np.pi * late * frequencies)
    spectra = []
    for part in series:
        spectrum = np.zeros(size, complex)
        spectrum[: len(part.data.data)] = part.data.data[:size]
        spectra.append(spectrum * weights / STRAIN_UNIT)
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
    row: dict[str, float]

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
        law: what they are.
        spacing: shortest and longest time between two, s.
        observation: detectors and sampling.
        noises: of each detector in this segment, for the SNR.
        start, duration: of the segment, s.
        *counters: from which the seed is counted, e.g. (seed, segment).
    """

    def __init__(
        self,
        law: InjectionLaw,
        spacing: tuple[float, float],
        observation: Observation,
        noises: tuple[DetectorNoise, ...],
        start: int,
        duration: int,
        *counters: int | str,
    ) -> None:
        self.law, self.observation, self.noises, self.start = law, observation, noises, start
        rng = np.random.default_rng(counted_seed("injections", *counters))
        self.times = draw_times(start, start + duration, spacing, rng)
        self.parameters = law.draw_injections(len(self.times), rng)
        # With a density of 1 / snr^2, 1 / snr is uniform.
        low, high = law.snr
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
        size = round(series_duration(*masses, self.law) * fs)
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
        plus, cross = lal_polarisations(row, self.law, fs, duration)  # (frequency,) each
        f_plus, f_cross, delays = self.responses(row)  # (detector,) each
        spectra = f_plus[:, None] * plus + f_cross[:, None] * cross  # (detector, frequency)
        snr = np.array(
            [
                optimal_snr(spectrum, noise, duration, self.law.min_frequency)
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
        tau = chirp_time(row["mass_1"], row["mass_2"], self.law.min_frequency)
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
