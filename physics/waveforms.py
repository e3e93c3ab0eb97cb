"""A bank of binary-black-hole waveforms: drawn, computed by LALSuite, kept on disk, reused.

The bank holds the pair (h+, hx) of each binary, seen from one direction. Everything else can be
drawn anew, exactly, each time a waveform is used: sky position, polarisation angle, arrival time,
distance and the orbital phase. The phase is a factor because IMRPhenomPv2 twists up a (2, +-2)
waveform: with the spins held in the frame of the total angular momentum, a phase multiplies the
spectra of h+ and hx by exp(2 i phase).

Importing this file imports neither torch nor LALSuite. So worker processes start fast, and a bank
on disk can be read where LALSuite is not installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from physics.constants import SAMPLE_RATE, SOLAR_MASS_SECONDS, STRAIN_UNIT
from runtime.console import LOGGER, progress
from runtime.errors import UserError
from runtime.files import read_json
from runtime.machine import num_cores
from runtime.optional_packages import require
from runtime.seeds import counted_seed
from runtime.worker_pool import run_parallel

FORMAT = 1  # raise it when the same settings would give another bank

# A window of 2 s has its merger at the geocentre 1.5 to 1.8 s after its beginning, and up to
# 21.5 ms earlier or later at a detector. So it may hold what lies from 1.8215 s before the merger
# to 0.5215 s after it. The bank stores a little more, faded to zero at both ends: the series is
# smoothly periodic, and a Fourier transform shifts it exactly by any fraction of a sample.
# 5,376 = 2^8 x 3 x 7 samples are fast to transform.
BEFORE_MERGER = 4096  # samples
AFTER_MERGER = 1280
STRETCH = BEFORE_MERGER + AFTER_MERGER
FADE_IN, FADE_OUT = 307, 204  # 0.15 s and 0.1 s
DISTANCE = 1000.0  # Mpc, of every waveform in the bank

PARAMETERS = ("mass_1", "mass_2", "a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl", "theta_jn")


@dataclass(frozen=True)
class BankSettings:
    """The law that the binaries of a bank are drawn from. Masses: detector frame, solar masses.

    The logarithm of the total mass, the mass ratio and the spin magnitudes are uniform; spins and
    orbits are isotropic. Angles are defined as in bilby, at the reference frequency.
    """

    size: int = 8000
    seed: int = 0
    total_mass: tuple[float, float] = (30.0, 80.0)
    mass_ratio: tuple[float, float] = (0.3, 1.0)
    max_spin: float = 0.99
    min_frequency: float = 20.0  # Hz
    reference_frequency: float = 20.0  # Hz
    longest: float = 5.0  # s; no waveform begins earlier before its merger
    duration: float = 8.0  # s, of the periodic series that LALSuite's spectra stand for

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"a waveform bank needs at least one waveform, not {self.size}")
        for name, (low, high) in (("total_mass", self.total_mass), ("mass_ratio", self.mass_ratio)):
            if not 0 < low <= high:
                raise UserError(f"{name} must be two rising positive numbers, not {low}, {high}")

    def key(self) -> str:
        """Return a digest of the settings, which names the bank's files."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def draw_parameters(settings: BankSettings) -> np.ndarray:
    """Return the parameters of every waveform: (size, 9) float64 in the order of `PARAMETERS`."""
    rng = np.random.default_rng(counted_seed(settings.seed, "waveforms"))
    size = settings.size
    total = np.exp(rng.uniform(*np.log(settings.total_mass), size))
    ratio = rng.uniform(*settings.mass_ratio, size)
    spins = rng.uniform(0, settings.max_spin, (2, size))
    tilts = np.arccos(rng.uniform(-1, 1, (2, size)))
    phi_12, phi_jl = rng.uniform(0, 2 * np.pi, (2, size))
    theta_jn = np.arccos(rng.uniform(-1, 1, size))
    mass_1 = total / (1 + ratio)
    return np.stack(
        [mass_1, total - mass_1, *spins, *tilts, phi_12, phi_jl, theta_jn], axis=1
    )  # (size, 9)


def start_frequency(mass_1: float, mass_2: float, settings: BankSettings) -> float:
    """Return the frequency at which a waveform begins, in Hz.

    It is the higher one of `min_frequency` and the frequency `longest` seconds before the merger.
    At the leading order of the inspiral a time tau before the merger the frequency is
    f = (5 / (256 tau))^(3/8) M^(-5/8) / pi, with the chirp mass M in seconds (Cutler and Flanagan,
    Physical Review D 49, 2658, 1994, equation 2.19).
    """
    chirp_mass = (mass_1 * mass_2) ** 0.6 / (mass_1 + mass_2) ** 0.2 * SOLAR_MASS_SECONDS
    frequency = (5 / (256 * settings.longest)) ** 0.375 * chirp_mass**-0.625 / math.pi
    return max(settings.min_frequency, frequency)


def lal_waveform(
    parameters: np.ndarray, settings: BankSettings, phase: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of h+ and hx by LALSuite's IMRPhenomPv2, merger at time zero.

    Args:
        parameters: (9,) in the order of `PARAMETERS`.
        settings: frequencies and duration.
        phase: orbital phase at the reference frequency, rad.

    Returns:
        Two complex128 arrays at the frequencies k / duration up to 1,024 Hz, strain / Hz at
        `DISTANCE`.
    """
    import lal
    import lalsimulation

    mass_1, mass_2, a_1, a_2, tilt_1, tilt_2, phi_12, phi_jl, theta_jn = map(float, parameters)
    mass_1_si, mass_2_si = mass_1 * lal.MSUN_SI, mass_2 * lal.MSUN_SI
    reference = settings.reference_frequency
    inclination, *spins = lalsimulation.SimInspiralTransformPrecessingNewInitialConditions(
        theta_jn, phi_jl, tilt_1, tilt_2, phi_12, a_1, a_2, mass_1_si, mass_2_si, reference, phase
    )
    plus, cross = lalsimulation.SimInspiralChooseFDWaveform(
        mass_1_si,
        mass_2_si,
        *spins,
        DISTANCE * 1e6 * lal.PC_SI,
        inclination,
        phase,
        0.0,
        0.0,
        0.0,
        1 / settings.duration,
        start_frequency(mass_1, mass_2, settings),
        SAMPLE_RATE / 2,
        reference,
        lal.CreateDict(),
        lalsimulation.IMRPhenomPv2,
    )
    return plus.data.data, cross.data.data


def fade() -> np.ndarray:
    """Return weights (STRETCH,): one where a window may lie, falling to zero at both ends."""
    weights = np.ones(STRETCH)
    for size, part in ((FADE_IN, weights[:FADE_IN]), (FADE_OUT, weights[::-1][:FADE_OUT])):
        part[:] = np.sin(np.pi / 2 * (np.arange(size) + 0.5) / size) ** 2
    return weights


def compute_waveforms(parameters: np.ndarray, settings: BankSettings) -> np.ndarray:
    """Return (rows, 2, STRETCH) float32: h+ and hx around the merger, in units of 1e-21."""
    import scipy.fft

    weights = fade().astype(np.float32)
    samples = round(settings.duration * SAMPLE_RATE)
    waveforms = np.empty((len(parameters), 2, STRETCH), np.float32)
    for row, values in enumerate(parameters):
        # Spectral amplitudes of 1e-23 per Hz would underflow float32: they are scaled first. The
        # sampling rate turns the inverse discrete transform into the inverse Fourier integral.
        spectra = np.stack(lal_waveform(values, settings)) * (SAMPLE_RATE / STRAIN_UNIT)
        series = scipy.fft.irfft(spectra.astype(np.complex64), samples)  # (2, samples)
        # LALSuite puts the merger at time zero of a periodic series, and so what precedes it at
        # the end.
        waveforms[row, :, :BEFORE_MERGER] = series[:, -BEFORE_MERGER:]
        waveforms[row, :, BEFORE_MERGER:] = series[:, :AFTER_MERGER]
    waveforms *= weights
    return waveforms


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
        waveforms: (size, 2, STRETCH) float32, h+ and hx in units of 1e-21 at 1,000 Mpc, sampled
            at 2,048 Hz, the merger at sample `BEFORE_MERGER`.
        parameters: (size, 9) float64 in the order of `PARAMETERS`.
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
            shape = (settings.size, 2, STRETCH)
            np.lib.format.open_memmap(temporary, "w+", np.float32, shape).flush()
            compute_rows(temporary, parameters, settings, processes, show_progress)
        # The header is written last: where it is, the waveforms are complete.
        fields = {
            "format": FORMAT,
            "settings": asdict(settings),
            "lalsimulation": version,
            "shape": shape,
            "unit": "1e-21 strain at 1000 Mpc",
            "sample_rate": SAMPLE_RATE,
            "merger_at": BEFORE_MERGER,
            "parameters": PARAMETERS,
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
            # JSON has no tuples: they come back as lists.
            settings = BankSettings(
                **{
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in fields["settings"].items()
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
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
