"""What decides the waveforms of a bank: its laws, its seed, and what is stored of each waveform.

Importing this file imports neither torch nor LALSuite.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from configuration.json_types import to_plain
from physics.constants import LIGHT_TIME
from physics.inspiral import inspiral_frequency, inspiral_seconds, lost_before
from physics.mass_laws import LogUniformTotalMass
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population, chirp_mass
from physics.spin_laws import IsotropicSpins
from physics.waveform_series import FADE_IN, WaveformSeries, waveform_series
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.seeds import counted_seed

FORMAT = 1  # raise it when the same settings would give another bank
DISTANCE = 1000.0  # Mpc, of every waveform in the bank
COMPETITION_SERIES = waveform_series(
    COMPETITION.sample_rate,
    COMPETITION.window,
    COMPETITION_POPULATION.merger_range(COMPETITION.window),
)
# The part of the SNR^2 of a law's lightest binary that may lie before the stored series begins.
LARGEST_LOSS = 0.25
# Settings that are whole numbers. All others may be written as 7 or as 7.0, which is the same law;
# in a key they are floats, as those of the competition are.
WHOLE_NUMBERS = ("size", "seed", "modes", "series")
BINARIES_TRIED = 2000  # draws among which the lightest binary of a law is looked for


def series_of(population: Population, observation: Observation) -> WaveformSeries:
    """Return the series that a bank for these stores of each waveform."""
    merger = population.merger_range(observation.window)
    return waveform_series(observation.sample_rate, observation.window, merger)


@dataclass(frozen=True)
class BankSettings:
    """What decides the waveforms of a bank.

    Args:
        size: number of binaries.
        seed: of their parameters.
        population: the laws of the binaries; where and how loud they are makes no difference.
        series: what is stored of each waveform.
    """

    size: int = 8000
    seed: int = 0
    population: Population = COMPETITION_POPULATION
    series: WaveformSeries = COMPETITION_SERIES

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"a waveform bank needs at least one waveform, not {self.size}")
        object.__setattr__(self, "population", self.population.of_binaries())

    @classmethod
    def of(
        cls, population: Population, observation: Observation, size: int = 8000, seed: int = 0
    ) -> BankSettings:
        """Return the settings of a bank for an observation.

        Raises:
            UserError: the window does not hold the binaries; see `check_window`.
        """
        settings = cls(size, seed, population, series_of(population, observation))
        check_window(settings, observation)
        return settings

    @property
    def min_frequency(self) -> float:
        """Where waveforms begin at the earliest, Hz."""
        return self.population.min_frequency

    @property
    def reference_frequency(self) -> float:
        """At which spins and phase are defined, Hz."""
        return self.population.reference_frequency

    @property
    def longest(self) -> float:
        """How long before its merger a waveform begins at most, s."""
        return self.population.longest or self.series.longest

    @property
    def duration(self) -> float:
        """Length of the periodic series that LALSuite's spectra stand for, s: a power of two."""
        stored = self.series.stretch / self.series.sample_rate
        return power_of_two(max(1.5 * self.longest, stored))

    def to_plain(self) -> dict[str, Any]:
        """Return the settings in JSON's own types; what the competition's have not is left out."""
        law, default = self.population, COMPETITION_POPULATION
        plain: dict[str, Any] = {"size": self.size, "seed": self.seed}
        if isinstance(law.masses, LogUniformTotalMass):
            plain |= {"total_mass": law.masses.total, "mass_ratio": law.masses.ratio}
        else:
            plain["masses"] = law.masses
        if isinstance(law.spins, IsotropicSpins) and isinstance(law.spins.most, int | float):
            plain["max_spin"] = law.spins.most
        else:
            plain["spins"] = law.spins
        plain |= {
            "min_frequency": law.min_frequency,
            "reference_frequency": law.reference_frequency,
            "longest": self.longest,
            "duration": self.duration,
        }
        if law.longest is not None:
            plain["cut"] = True  # `longest` was asked for, and does not follow from the series
        for name in ("orientation", "distance", "frame", "cosmology", "approximant", "modes"):
            if getattr(law, name) != getattr(default, name):
                plain[name] = getattr(law, name)
        if law.prior is not None:
            plain["prior"] = dict(law.prior)
        if self.series != COMPETITION_SERIES:
            plain["series"] = self.series
        return to_plain(plain)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> BankSettings:
        """Return the settings that `to_plain` described.

        Raises:
            UserError: they are damaged.
        """
        try:
            rest = dict(plain)
            size, seed = rest.pop("size"), rest.pop("seed")
            series = WaveformSeries(**rest.pop("series", COMPETITION_SERIES.to_plain()))
            if not rest.pop("cut", False):
                del rest["longest"]
            del rest["duration"]
            if "total_mass" in rest:
                total, ratio = rest.pop("total_mass"), rest.pop("mass_ratio")
                rest["masses"] = LogUniformTotalMass(total, ratio)
            if "max_spin" in rest:
                rest["spins"] = IsotropicSpins(rest.pop("max_spin"))
            return cls(size, seed, Population.from_plain(rest), series)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{plain!r} are no settings of a bank ({error!r})") from error

    def key(self) -> str:
        """Return a digest of the settings, which names the bank's files."""
        plain = {
            name: value if name in WHOLE_NUMBERS else with_floats(value)
            for name, value in self.to_plain().items()
        }
        text = json.dumps({"format": FORMAT, **plain}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def with_floats(value: Any) -> Any:
    """Return a value of JSON's own types, all integers in it as floats."""
    if isinstance(value, dict):
        return {key: with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_floats(item) for item in value]
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_integer else value


def power_of_two(value: float) -> float:
    """Return the smallest power of two that is not below a positive value."""
    return 2.0 ** math.ceil(math.log2(value) - 1e-9)


def draw_parameters(settings: BankSettings) -> np.ndarray:
    """Return the parameters of every waveform.

    Returns:
        (size, columns) float64 in the order of `Population.columns`.
    """
    rng = np.random.default_rng(counted_seed(settings.seed, "waveforms"))
    drawn = settings.population.draw(settings.size, rng)
    return np.stack([drawn[name] for name in settings.population.columns], axis=1)


def start_frequency(mass_1: float, mass_2: float, settings: BankSettings) -> float:
    """Return the frequency at which a waveform begins, in Hz.

    It is the higher one of `min_frequency` and the frequency `longest` seconds before the merger.
    """
    return max(settings.min_frequency, inspiral_frequency(settings.longest, mass_1, mass_2))


def check_window(settings: BankSettings, observation: Observation) -> None:
    """Check that the window holds a population's inspirals, up to a stated loss.

    What comes before the series that a bank stores is lost. Of the lightest of 2,000 binaries of
    the population that may be `LARGEST_LOSS` of the SNR^2. Where the population says with
    `longest` that waveforms are to be cut, a larger loss is only logged.

    Raises:
        UserError: more would be lost.
    """
    population, series = settings.population, settings.series
    rng = np.random.default_rng(0)
    drawn = population.draw(BINARIES_TRIED, rng)
    at = int(np.argmin(chirp_mass(drawn["mass_1"], drawn["mass_2"])))
    mass_1, mass_2 = float(drawn["mass_1"][at]), float(drawn["mass_2"][at])
    held = min(series.before / series.sample_rate - FADE_IN - LIGHT_TIME, settings.longest)
    lost = lost_before(held, mass_1, mass_2, population, observation)
    if lost <= LARGEST_LOSS:
        return
    seconds = inspiral_seconds(population.min_frequency, mass_1, mass_2)
    what = (
        f"population: a binary of {mass_1:.3g} and {mass_2:.3g} solar masses takes {seconds:.3g} s "
        f"from {population.min_frequency:g} Hz to its merger, and a window of "
        f"{observation.window:g} s holds {held:.3g} s of them, which loses {lost:.0%} of its SNR^2"
    )
    if population.longest is not None:
        LOGGER.warning("%s", what)
        return
    raise UserError(
        f"{what}: take a longer observation.window, a higher population.min_frequency or heavier "
        f"masses, or accept the loss with population.longest = {held:.3g}"
    )
