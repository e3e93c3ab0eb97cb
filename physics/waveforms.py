"""A bank of waveforms of binaries: drawn, computed by LALSuite, kept on disk, reused.

The bank holds the pair (h+, hx) of each binary, seen from one direction. Everything else can be
drawn anew, exactly, each time a waveform is used: sky position, polarisation angle, arrival time,
distance and the orbital phase. The phase is a factor because IMRPhenomPv2 twists up a (2, +-2)
waveform: with the spins held in the frame of the total angular momentum, a phase multiplies the
spectra of h+ and hx by exp(2 i phase). Where there are other modes, the phase is drawn with the
binary.

Importing this file imports neither torch nor LALSuite. So worker processes start fast, and a bank
on disk can be read where LALSuite is not installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configuration.json_types import to_plain
from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from physics.constants import LIGHT_TIME, SOLAR_MASS_SECONDS, STRAIN_UNIT
from physics.mass_laws import LogUniformTotalMass
from physics.observation import COMPETITION, Observation
from physics.polarisations import highest_m, polarisations
from physics.population import COMPETITION_POPULATION, Population, chirp_mass
from physics.spin_laws import IsotropicSpins
from physics.waveform_series import FADE_IN, WaveformSeries, waveform_series
from runtime.console import LOGGER, progress
from runtime.errors import UserError
from runtime.files import read_json
from runtime.machine import num_cores
from runtime.optional_packages import require
from runtime.seeds import counted_seed
from runtime.worker_pool import run_parallel

FORMAT = 1  # raise it when the same settings would give another bank
DISTANCE = 1000.0  # Mpc, of every waveform in the bank
COMPETITION_SERIES = waveform_series(
    COMPETITION.sample_rate,
    COMPETITION.window,
    COMPETITION_POPULATION.merger_range(COMPETITION.window),
)
# The part of the SNR^2 of a law's lightest binary that may lie before the stored series begins.
LARGEST_LOSS = 0.25
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
        if isinstance(law.spins, IsotropicSpins) and isinstance(law.spins.most, float):
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
        text = json.dumps({"format": FORMAT, **self.to_plain()}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


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


# --- how long an inspiral lasts -----------------------------------------------------------------


def inspiral_frequency(seconds: float, mass_1: float, mass_2: float) -> float:
    """Return the frequency of the (2, 2) mode some time before the merger, Hz.

    At the leading order of the inspiral a time tau before the merger the frequency is
    f = (5 / (256 tau))^(3/8) M^(-5/8) / pi, with the chirp mass M in seconds (Cutler and Flanagan,
    Physical Review D 49, 2658, 1994, equation 2.19).
    """
    mass = chirp_mass(mass_1, mass_2) * SOLAR_MASS_SECONDS
    return (5 / (256 * seconds)) ** 0.375 * mass**-0.625 / math.pi


def inspiral_seconds(frequency: float, mass_1: float, mass_2: float) -> float:
    """Return how long before the merger the (2, 2) mode has a frequency, s."""
    mass = chirp_mass(mass_1, mass_2) * SOLAR_MASS_SECONDS
    return 5 / 256 * (math.pi * frequency) ** (-8 / 3) * mass ** (-5 / 3)


def start_frequency(mass_1: float, mass_2: float, settings: BankSettings) -> float:
    """Return the frequency at which a waveform begins, in Hz.

    It is the higher one of `min_frequency` and the frequency `longest` seconds before the merger.
    """
    return max(settings.min_frequency, inspiral_frequency(settings.longest, mass_1, mass_2))


def lost_before(
    seconds: float, mass_1: float, mass_2: float, population: Population, observation: Observation
) -> float:
    """Return the part of an inspiral's SNR^2 that comes so many seconds before its merger or more.

    An inspiral has |h(f)|^2 proportional to f^(-7/3) up to the innermost stable orbit of its total
    mass m, at 1 / (6^(3/2) pi m); its SNR^2 is the integral of that over the PSD. The detector
    that loses most counts.
    """
    last = 1 / (6**1.5 * math.pi * (mass_1 + mass_2) * SOLAR_MASS_SECONDS)
    last = min(max(last, 2 * population.min_frequency), observation.nyquist)
    frequencies = np.linspace(max(population.min_frequency, observation.min_frequency), last, 4000)
    missed = frequencies < inspiral_frequency(seconds, mass_1, mass_2)
    losses = []
    for channel in range(observation.num_detectors):
        density = frequencies ** (-7 / 3)
        density /= (observation.noise(channel).asd(frequencies) / STRAIN_UNIT) ** 2
        losses.append(density[missed].sum() / density.sum())
    return float(max(losses))


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


# --- waveforms ----------------------------------------------------------------------------------


def waveform_duration(mass_1: float, mass_2: float, settings: BankSettings) -> float:
    """Return the length of the periodic series of a waveform, s.

    A mode of m begins, at the same frequency, when the (2, 2) mode has 2 / m of it: (m / 2)^(8/3)
    times as long before the merger. A series that is shorter would show that at its other end.
    """
    highest = highest_m(settings.population.approximant, settings.population.modes)
    if highest <= 2:
        return settings.duration
    begin = start_frequency(mass_1, mass_2, settings) * 2 / highest
    return max(settings.duration, power_of_two(1.5 * inspiral_seconds(begin, mass_1, mass_2)))


def lal_waveform(
    parameters: np.ndarray, settings: BankSettings, phase: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of h+ and hx of a binary by LALSuite, merger at time zero.

    Args:
        parameters: (columns,) in the order of `Population.columns`.
        settings: of the bank.
        phase: orbital phase at the reference frequency, rad; default that of the parameters, or 0.

    Returns:
        Two complex128 arrays at the frequencies k / `waveform_duration` up to half the sampling
        rate, strain / Hz at `DISTANCE`.
    """
    law = settings.population
    binary = dict(zip(law.columns, map(float, parameters), strict=True))
    mass_1, mass_2 = binary["mass_1"], binary["mass_2"]
    return polarisations(
        binary,
        law.approximant,
        settings.series.sample_rate,
        waveform_duration(mass_1, mass_2, settings),
        start_frequency(mass_1, mass_2, settings),
        law.reference_frequency,
        DISTANCE,
        law.modes,
        binary.get("phase", 0.0) if phase is None else phase,
    )


def compute_waveforms(parameters: np.ndarray, settings: BankSettings) -> np.ndarray:
    """Return (rows, 2, stretch) float32: h+ and hx around the merger, in units of 1e-21."""
    import scipy.fft

    series, rate = settings.series, settings.series.sample_rate
    weights = series.weights().astype(np.float32)
    waveforms = np.empty((len(parameters), 2, series.stretch), np.float32)
    for row, values in enumerate(parameters):
        # Spectral amplitudes of 1e-23 per Hz would underflow float32: they are scaled first. The
        # sampling rate turns the inverse discrete transform into the inverse Fourier integral.
        spectra = np.stack(lal_waveform(values, settings)) * (rate / STRAIN_UNIT)
        samples = round(waveform_duration(values[0], values[1], settings) * rate)
        periodic = scipy.fft.irfft(spectra.astype(np.complex64), samples)  # (2, samples)
        # LALSuite puts the merger at time zero of a periodic series, and so what precedes it at
        # the end.
        waveforms[row, :, : series.before] = periodic[:, -series.before :]
        waveforms[row, :, series.before :] = periodic[:, : series.after]
    waveforms *= weights
    return waveforms


def compute_block(settings: BankSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the waveforms and parameters of a small bank; see `WaveformBank`."""
    parameters = draw_parameters(settings)
    return compute_waveforms(parameters, settings), parameters


def fill_rows(path: str, start: int, parameters: np.ndarray, settings: BankSettings) -> int:
    """Compute waveforms into rows of the array file `path`, from row `start`; return how many."""
    rows = np.load(path, mmap_mode="r+", allow_pickle=False)
    rows[start : start + len(parameters)] = compute_waveforms(parameters, settings)
    return len(parameters)


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that are started inside use one thread each: there is one process a core."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


class WaveformBank:
    """Waveforms and the parameters they were computed from.

    Attributes:
        waveforms: (size, 2, stretch) float32, h+ and hx in units of 1e-21 at 1,000 Mpc, as
            `settings.series` says.
        parameters: (size, columns) float64 in the order of `Population.columns`.
        settings: what they were drawn from.
    """

    def __init__(
        self, waveforms: np.ndarray, parameters: np.ndarray, settings: BankSettings
    ) -> None:
        self.waveforms, self.parameters, self.settings = waveforms, parameters, settings

    def __len__(self) -> int:
        return len(self.waveforms)

    @classmethod
    def build(
        cls,
        settings: BankSettings,
        cache_dir: Path | None = None,
        processes: int | None = None,
        show_progress: bool | None = None,
    ) -> WaveformBank:
        """Return the bank of these settings: read from disk, or else computed and kept there.

        Args:
            settings: what to draw.
            cache_dir: where banks are kept; default that of `physics.cache_folder`.
            processes: number of worker processes; default one a core. It changes no result.
            show_progress: whether to draw a bar; default only on a terminal.

        Raises:
            UserError: there is no such bank on disk and LALSuite is not installed.
        """
        folder = Path(cache_dir or cache_folder())
        remove_abandoned(folder)
        header = folder / f"waveforms-{settings.key()}.json"
        if header.exists():
            try:
                return cls.load(header)
            except UserError as error:
                LOGGER.warning("%s; it is computed again", error)
        version = require("lalsimulation", "sim").__version__
        parameters = draw_parameters(settings)
        with kept_path(header.with_suffix(".npy")) as temporary:
            shape = (settings.size, 2, settings.series.stretch)
            np.lib.format.open_memmap(temporary, "w+", np.float32, shape).flush()
            compute_rows(temporary, parameters, settings, processes, show_progress)
        # The header is written last: where it is, the waveforms are complete.
        fields = {
            "format": FORMAT,
            "settings": settings.to_plain(),
            "lalsimulation": version,
            "shape": shape,
            "unit": "1e-21 strain at 1000 Mpc",
            "sample_rate": settings.series.sample_rate,
            "merger_at": settings.series.before,
            "parameters": settings.population.columns,
            "rows": parameters.tolist(),
        }
        with kept_path(header) as temporary:
            temporary.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
        return cls.load(header)

    @classmethod
    def load(cls, header: Path) -> WaveformBank:
        """Read the bank that a header names.

        Raises:
            UserError: the files are damaged or of another format.
        """
        fields = read_json(header)
        array = header.with_suffix(".npy")
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise UserError(f"{header} is not a waveform bank of format {FORMAT}: remove it")
        try:
            waveforms = np.load(array, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"the waveforms {array} cannot be read ({error}): remove it") from error
        try:
            shape, parameters = tuple(fields["shape"]), np.array(fields["rows"], np.float64)
            settings = BankSettings.from_plain(fields["settings"])
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise UserError(f"{header} is damaged ({error!r}): remove it") from error
        if waveforms.shape != shape or waveforms.dtype != np.float32:
            raise UserError(
                f"{array} holds {waveforms.dtype} {waveforms.shape} and its header says float32 "
                f"{shape}: remove it"
            )
        return cls(waveforms, parameters, settings)


def compute_rows(
    path: Path,
    parameters: np.ndarray,
    settings: BankSettings,
    processes: int | None = None,
    show_progress: bool | None = None,
    chunk: int = 100,
) -> None:
    """Fill the array file `path` with the waveforms of `parameters`, in parallel where it pays."""
    starts = range(0, len(parameters), chunk)
    processes = min(processes or num_cores(), len(starts))
    if len(parameters) <= 5 * chunk:  # less work than starting processes
        processes = 1
    tasks = ((str(path), start, parameters[start : start + chunk], settings) for start in starts)
    with (
        progress(
            total=len(parameters), desc="waveforms", unit="waveform", show=show_progress
        ) as bar,
        one_thread_each(),
    ):
        for count in run_parallel(fill_rows, tasks, processes):
            bar.update(count)
