"""Injections into the strain that is searched: how many of them the search finds, and how far.

Simulated signals are added to the recordings themselves, before anything is conditioned, so that
gates, PSDs and gaps act on them as on real ones. The strain is searched once more with them, and
each trigger near an injection is rated against the background of the search without them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.recording import Recording, Source
from data.time_segments import TimeSegments
from experiments.side_targets import MERGER_TIME
from physics.constants import STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.observation import Observation
from physics.population import Population, chirp_mass
from search.background import SECONDS_PER_YEAR, Background, Significance
from search.sensitivity import (
    Injections,
    VolumeLaw,
    match_events,
    sphere_radius,
    volume_law_of_population,
)
from search.trigger_table import TriggerTable
from simulation.strain_injections import AFTER_MERGER, InjectedSignal, InjectionPlan

SPREAD = 0.1  # of the time between injections, to either side: it is drawn uniformly
HELD_SIGNALS = 64  # in memory; a stretch of minutes has some dozen


@dataclass(frozen=True)
class InjectionSettings:
    """What is injected.

    Args:
        population: that signals are drawn from.
        every: mean time between two arrivals, s.
        seed: of the draws.
    """

    population: Population
    every: float
    seed: int


class SignalsInTime:
    """The signals that are injected into a search, computed when they are asked for.

    Args:
        settings: what is injected.
        observation: detectors, rate and noise curves, by which SNRs are counted.
        start: of the search, GPS, s.
        end: of the search, GPS, s.
    """

    def __init__(
        self, settings: InjectionSettings, observation: Observation, start: float, end: float
    ) -> None:
        self.observation = observation
        noises = tuple(
            first_noise(observation, channel) for channel in range(observation.num_detectors)
        )
        first = math.floor(start)
        spacing = ((1 - SPREAD) * settings.every, (1 + SPREAD) * settings.every)
        self.plan = InjectionPlan(
            settings.population,
            spacing,
            observation,
            noises,
            first,
            math.ceil(end) - first,
            settings.seed,
        )
        rate = observation.sample_rate
        places = [self.plan.place(number) for number in range(len(self.plan))]
        self.begins = np.array([self.plan.start + place[0] / rate for place in places])
        self.ends = self.begins + np.array([place[1] / rate for place in places])
        self.signal = functools.lru_cache(HELD_SIGNALS)(self.plan.signal)

    def between(self, start: float, end: float) -> Iterator[tuple[float, InjectedSignal]]:
        """Yield the signals with strain between two GPS times, and when their first sample is."""
        for number in np.flatnonzero((self.begins < end) & (self.ends > start)):
            yield float(self.begins[number]), self.signal(int(number))

    def parameters(self) -> list[dict[str, float]]:
        """Return the parameters of all injections by bilby's names, in order of time."""
        return [self.signal(number).row for number in range(len(self.plan))]


def first_noise(observation: Observation, channel: int) -> DetectorNoise:
    """Return the noise of a channel; of a family of curves, that of its first one."""
    noise = observation.noise(channel)
    members = noise.curve.members
    if not members:
        return noise
    return DetectorNoise(members[0], noise.sample_rate, noise.min_frequency)


class InjectedSource:
    """A source with signals added to what is read from it.

    Args:
        source: of the strain of one detector.
        channel: of the detector in the observation.
        signals: to add.
    """

    def __init__(self, source: Source, channel: int, signals: SignalsInTime) -> None:
        self.source, self.channel, self.signals = source, channel, signals
        self.name, self.rate, self.calibration = source.name, source.rate, source.calibration
        self.start, self.size = source.start, source.size

    def data_segments(self) -> TimeSegments:
        return self.source.data_segments()

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return self.source.excluded_segments()

    def content_digest(self) -> str:
        return self.source.content_digest()

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first to last - 1, (last - first,) float64."""
        values = np.array(self.source.read(first, last), np.float64)
        start = self.start + first / self.rate
        end = start + len(values) / self.rate
        for begin, signal in self.signals.between(start, end):
            strain, place = resample_signal(
                signal.strain[self.channel],
                self.signals.observation.sample_rate,
                self.rate,
                (begin - start) * self.rate,
            )
            low, high = max(place, 0), min(place + len(strain), len(values))
            if low < high:
                values[low:high] += STRAIN_UNIT * strain[low - place : high - place]
        return values


def resample_signal(
    strain: np.ndarray, rate: int, new_rate: int, position: float
) -> tuple[np.ndarray, int]:
    """Return a signal at another sampling rate and at a place between samples.

    Args:
        strain: (samples,) periodic, at `rate`.
        rate: Hz.
        new_rate: Hz; no lower.
        position: of the first sample in samples of the new rate; it need not be whole.

    Returns:
        (new samples,) and the whole number of the first of them.
    """
    import scipy.fft

    count = round(len(strain) * new_rate / rate)
    spectrum = scipy.fft.rfft(strain)
    if count != len(strain):
        # Between Nyquist's frequency of the one and of the other there is nothing. Its bin is
        # both halves of a cosine in the shorter series and one of them in the longer.
        spectrum[-1] /= 2
    place = math.floor(position)
    late = (position - place) / new_rate  # s
    frequencies = np.arange(len(spectrum)) * rate / len(strain)
    spectrum *= np.exp(-2j * np.pi * frequencies * late)
    return scipy.fft.irfft(spectrum, count) * (count / len(strain)), place


def inject_into_recordings(
    recordings: Mapping[str, Recording], signals: SignalsInTime
) -> dict[str, Recording]:
    """Return recordings with signals added; what files say of data quality stays as it is."""
    injected = {}
    for name, recording in recordings.items():
        channel = signals.observation.detectors.index(name)
        sources = [InjectedSource(source, channel, signals) for source in recording.sources]
        injected[name] = Recording(name, sources)
    return injected


# --- what is found --------------------------------------------------------------------------------


@dataclass(frozen=True)
class InjectionResult:
    """Which injections a search found.

    Attributes:
        injections: those whose time was searched; N is their number.
        score: (N,) of the loudest trigger of each, -inf where there is none.
        combination: (N,) detectors of that trigger, '' where there is none.
        significance: (N,) of that trigger; its rate is infinite where there is none.
        law: how those that are found make a volume, None where distances have no law for that.
        side_names: names of the S side targets that the networks predict.
        injected: (N, S) float64 their values as injected, in their own units, a merger time as a
            GPS time, s; NaN where the injection does not say.
        predicted: (N, S) those of that trigger; NaN where there is none.
    """

    injections: Injections
    score: np.ndarray
    combination: np.ndarray
    significance: Significance
    law: VolumeLaw | None
    side_names: tuple[str, ...]
    injected: np.ndarray
    predicted: np.ndarray

    def is_found(self, rate: float) -> np.ndarray:
        """Return which injections have a false-alarm rate (1/s) no higher than this, (N,) bool."""
        return self.significance.rate <= rate * (1 + 1e-9)

    def efficiency(self, rate: float) -> tuple[float, float]:
        """Return the share that is found at a false-alarm rate (1/s), and its standard error.

        The error is half of Wilson's interval, which is not zero where all or none is found.
        """
        n = len(self.injections)
        if not n:
            return math.nan, math.nan
        p = float(self.is_found(rate).mean())
        return p, math.sqrt(p * (1 - p) / n + 1 / (4 * n**2)) / (1 + 1 / n)

    def sensitive_distance(self, rate: float) -> tuple[float, float]:
        """Return the radius of the sphere that the search sees at a rate (1/s) and its error, Mpc.

        NaN where the distances of the population have no law of a volume.
        """
        if self.law is None:
            return math.nan, math.nan
        volume, error = self.law.volume(self.is_found(rate))
        radius = sphere_radius(volume)
        # dV = 4 pi r^2 dr, so dr / r = dV / (3 V).
        return radius, radius * error / (3 * volume) if volume else 0.0


def match_injections(
    rows: list[dict[str, float]],
    found: TriggerTable,
    background: Background,
    spans: list[tuple[float, float]],
    settings: InjectionSettings,
    reach: float,
) -> InjectionResult:
    """Return which injections were found, and how significant they are.

    Args:
        rows: parameters of all injections by bilby's names, in order of time.
        found: triggers of the strain with injections.
        background: of the strain without them, after the removal of signals.
        spans: that were searched, GPS, s. Injections elsewhere do not count; those in a gap or a
            gate within a span count as missed.
        settings: what was injected.
        reach: injections so near to a signal that was removed from the background do not count, s.
    """
    times = np.array([row["geocent_time"] for row in rows])
    counted = np.zeros(len(rows), bool)
    for start, end in spans:
        counted |= (times >= start) & (times <= end - AFTER_MERGER)
    for event in background.removed:
        counted &= np.abs(times - event.time) > reach
    rows = [row for row, counts in zip(rows, counted, strict=True) if counts]

    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows], np.float64)

    injections = Injections(
        column("geocent_time"),
        column("mass_1"),
        column("mass_2"),
        column("luminosity_distance"),
        column("network_snr"),
    )
    score, _ = match_events(injections, found)
    # the trigger that gave each score, for its detectors and what the networks say of it
    combination = np.full(len(rows), "", dtype=np.dtype("U32"))
    predicted = np.full((len(rows), len(found.side_names)), np.nan)
    order = np.argsort(found.time, kind="stable")
    for row, value in enumerate(score):
        if np.isfinite(value):
            near = order[
                slice(*np.searchsorted(found.time[order], injections.time[row] + np.array([-1, 1])))
            ]
            trigger = near[found.score[near] == value][0]
            combination[row] = found.combination[trigger]
            predicted[row] = found.sides[trigger]
    significance = background.rate_triggers(score, combination)
    missed = ~np.isfinite(significance.rate)
    significance.rate[missed] = np.inf
    law = settings.population.distance
    return InjectionResult(
        injections,
        score,
        combination,
        significance,
        volume_law_of_population(injections, law) if law is not None else None,
        found.side_names,
        injected_values(rows, found.side_names),
        predicted,
    )


def injected_values(rows: list[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    """Return what injections are in the quantities of side targets, (N, S) float64.

    Args:
        rows: parameters by bilby's names.
        names: of the side targets; NaN of one that is no parameter.
    """
    values = np.full((len(rows), len(names)), np.nan)
    for place, name in enumerate(names):
        for number, row in enumerate(rows):
            if name == MERGER_TIME:
                values[number, place] = row["geocent_time"]
            elif name == "chirp_mass":
                values[number, place] = chirp_mass(row["mass_1"], row["mass_2"])
            else:
                values[number, place] = row.get(name, np.nan)
    return values


def list_rates(significance: Significance, background: Background, most: int = 20) -> list[float]:
    """Return false-alarm rates (1/s) to state a sensitivity at, the highest first.

    They are those of the loudest candidates, and 1,000, 100, 10 and 1 a month as far as the
    background resolves them.

    Args:
        significance: of the candidates, the loudest first.
        background: of the search.
        most: candidates.
    """
    floors = [1 / background.live_time(name) for name in background.combinations]
    if not floors:
        return []
    # Removed signals were rated against more time slides than there are now: no injection can have
    # so low a rate.
    floor = max(floors)
    own = significance.rate[:most]
    own = np.maximum(own[np.isfinite(own)], floor)
    month = SECONDS_PER_YEAR / 12
    stated = [rate / month for rate in (1000, 100, 10, 1) if rate / month >= floor]
    return sorted({*own.tolist(), *stated}, reverse=True)
