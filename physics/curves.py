"""Noise curves by name: shipped tables, those of bilby and LALSimulation, files, and families.

A curve is an amplitude spectral density (ASD) at rising frequencies. It is named by, in this order,

* a table of `noise_curves/`, which needs no other package, e.g. "ligo_O4high";
* a file with two columns, frequency in Hz and ASD or PSD (`.txt`, `.csv`, `.dat`), or a PSD that
  PyCBC has written (`.hdf`, `.hdf5`: `data` with the attribute `delta_f`);
* a folder of such files: a *family*, of which each sample draws one member for each detector. Where
  the folder has a subfolder named like the detector, only the files in it belong to that detector;
* a curve of bilby, without its ending, e.g. "aLIGO_O4_high", or "AdV";
* a curve of LALSimulation without its prefix `SimNoisePSD`, e.g. "aLIGOZeroDetHighPower".

Two curves are the same if their numbers are: `NoiseCurve.digest` is made of these, not of the name.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physics.constants import STRAIN_UNIT
from runtime.errors import UserError, nearest
from runtime.optional_packages import require

SHIPPED = Path(__file__).parent / "noise_curves"
TABLE_SUFFIXES = (".txt", ".csv", ".dat")
HDF_SUFFIXES = (".hdf", ".hdf5", ".h5")
# The quietest ASD of any planned detector is above 1e-26, the loudest PSD below 1e-30 at any
# frequency that is used, so that a column of either kind is told from the other by its median.
LARGEST_PSD = 1e-30
LAL_RESOLUTION = 1 / 8  # Hz, of the tables that are made of LALSimulation's functions
LAL_END = 8192.0  # Hz


@dataclass(frozen=True, eq=False)
class NoiseCurve:
    """An amplitude spectral density, or a family of them; equal to another of the same numbers.

    Attributes:
        name: as it was asked for.
        frequencies: (rows,) float64, rising, in Hz.
        amplitudes: (rows,) float64, ASD in 1/sqrt(Hz). Of a family it is the geometric mean, by
            which strain is whitened where the member is not known.
        members: of a family; empty for a single curve.
    """

    name: str
    frequencies: np.ndarray
    amplitudes: np.ndarray
    members: tuple[NoiseCurve, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoiseCurve) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @functools.cached_property
    def digest(self) -> str:
        """A digest of all numbers; a family's are those of its members.

        Their geometric mean follows from them, but for its last bits, which differ between
        processors: numpy computes logarithms with the instructions that it finds.
        """
        content = hashlib.blake2b(digest_size=8)
        for curve in self.members or (self,):
            content.update(np.ascontiguousarray(curve.frequencies, "<f8"))
            content.update(np.ascontiguousarray(curve.amplitudes, "<f8"))
        return content.hexdigest()

    @property
    def end(self) -> float:
        """The last frequency, in Hz."""
        return float(self.frequencies[-1])

    def asd(self, frequencies: np.ndarray, min_frequency: float) -> np.ndarray:
        """Return the amplitude spectral density.

        The PSD is interpolated linearly between the rows of the table, as bilby does. Between
        `min_frequency` and the first row it is constant, and below `min_frequency` it is zero.

        Args:
            frequencies: any shape, in Hz.
            min_frequency: Hz.

        Returns:
            One-sided ASD of the same shape, float64, in 1/sqrt(Hz) (not in units of 1e-21).

        Raises:
            UserError: a frequency lies above the curve's end.
        """
        frequencies = np.asarray(frequencies, dtype=np.float64)
        if frequencies.size and frequencies.max() > self.end:
            raise UserError(
                f"the noise curve {self.name} ends at {self.end:g} Hz and {frequencies.max():g} Hz "
                f"was asked for: use a sampling rate of at most {2 * self.end:g} Hz, or a curve "
                f"that goes further"
            )
        power = np.interp(frequencies, self.frequencies, (self.amplitudes / STRAIN_UNIT) ** 2)
        return np.where(frequencies >= min_frequency, np.sqrt(power), 0.0) * STRAIN_UNIT


@dataclass(frozen=True)
class DetectorNoise:
    """The stationary noise of one detector, as it is sampled.

    Attributes:
        curve: its noise curve.
        sample_rate: Hz.
        min_frequency: Hz, below which there is none.
    """

    curve: NoiseCurve
    sample_rate: float
    min_frequency: float

    def asd(self, frequencies: np.ndarray) -> np.ndarray:
        """Return the amplitude spectral density; see `NoiseCurve.asd`."""
        return self.curve.asd(frequencies, self.min_frequency)

    def psd_on_grid(self, size: int, floor: float = 0.0) -> np.ndarray:
        """Return the one-sided PSD at the frequencies of `rfft` of `size` samples.

        Args:
            size: number of samples of the series.
            floor: the PSD below `min_frequency` as a fraction of its value there.

        Returns:
            (size // 2 + 1,) float64, in (1e-21)^2 / Hz.

        Raises:
            UserError: the curve ends below half the sampling rate.
        """
        frequencies = np.fft.rfftfreq(size, 1.0 / self.sample_rate)
        power = (self.asd(frequencies) / STRAIN_UNIT) ** 2
        at_edge = (self.asd(np.array(self.min_frequency)) / STRAIN_UNIT) ** 2
        return np.where(frequencies >= self.min_frequency, power, floor * at_edge)


def find_curve(name: str, detector: str = "") -> NoiseCurve:
    """Return the noise curve of that name; see the top of this file.

    Args:
        name: of the curve, a file or a folder.
        detector: whose subfolder of a family is meant, e.g. "H1".

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        own = path / detector
        return read_family(*family_files(own if detector and own.is_dir() else path))
    if path.is_file():
        return read_file(*file_version(path))
    return named_curve(name)


@functools.cache
def named_curve(name: str) -> NoiseCurve:
    """Return a shipped curve, one of bilby or one of LALSimulation."""
    shipped = {path.name.removesuffix("_asd.csv"): path for path in SHIPPED.glob("*_asd.csv")}
    if name in shipped:
        return NoiseCurve(name, *read_table(shipped[name]))
    for find in (bilby_curve, lalsimulation_curve):
        found = find(name)
        if found is not None:
            return found
    known = [*shipped, *bilby_files(), *lalsimulation_names()]
    if Path(name).suffix or "/" in name:
        raise UserError(
            f"the noise curve {name} does not exist: expected a file of two columns, a folder of "
            f"such files, or a name such as {', '.join(sorted(shipped))}"
        )
    more = (
        ""
        if len(known) > len(shipped)
        else ("; bilby and LALSimulation have more, with `pip install -e .[sim]`")
    )
    raise UserError(
        f"there is no noise curve {name!r}{nearest(name, known)}: expected a file, a folder, or "
        f"a name such as {', '.join(sorted(shipped))}{more}"
    )


# --- files -------------------------------------------------------------------------------------


# Name, size in bytes, and time of the last change in ns.
FileVersion = tuple[str, int, int]


def file_version(path: Path) -> FileVersion:
    """Return what tells a file from one that replaces it while the program runs."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=64)
def read_file(path: str, size: int, changed: int) -> NoiseCurve:
    """Return the curve in a file; a file that was replaced, as in a notebook, is read again.

    Args:
        path, size, changed: a `FileVersion`; the last two only tell versions apart.

    Raises:
        UserError: the file cannot be read, or holds no curve.
    """
    if Path(path).suffix.lower() in HDF_SUFFIXES:
        return NoiseCurve(path, *read_hdf(Path(path)))
    return NoiseCurve(path, *read_table(Path(path)))


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (Hz) and ASD (1/sqrt(Hz)), both (rows,), of a file of two columns.

    Columns are separated by commas or blanks; lines that begin with '#' and one line of names are
    passed over. A column of PSDs is recognised by its size, and by `_psd` in the file's name.
    """
    advice = "expected two columns, frequency in Hz and ASD or PSD, frequencies rising"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the noise curve {path} cannot be read ({error}): {advice}") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines and lines[0].lstrip()[0] not in "+-.0123456789":
        lines = lines[1:]  # the names of the columns
    try:
        rows = [[float(word) for word in line.replace(",", " ").split()] for line in lines]
        values = np.array(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != 2:
            raise ValueError("not two columns")
    except ValueError as error:
        raise UserError(f"the noise curve {path} is damaged ({error}): {advice}") from error
    is_psd = path.stem.endswith("_psd") or np.median(values[:, 1]) < LARGEST_PSD
    return check_curve(path, values[:, 0], np.sqrt(values[:, 1]) if is_psd else values[:, 1])


def read_hdf(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (Hz) and ASD (1/sqrt(Hz)), both (rows,), of a PSD written by PyCBC."""
    h5py = require("h5py", "gwosc")
    try:
        with h5py.File(path) as file:
            power = np.asarray(file["data"], dtype=np.float64)
            step = float(file["data"].attrs["delta_f"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"the noise curve {path} cannot be read ({error}): expected HDF5 with a dataset 'data' "
            f"of PSDs and its attribute 'delta_f' in Hz"
        ) from error
    # The first bin is at 0 Hz and often zero, and so are bins below the lowest frequency.
    used = power > 0
    return check_curve(path, np.arange(len(power))[used] * step, np.sqrt(power[used]))


def check_curve(
    path: Path, frequencies: np.ndarray, amplitudes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve as it came.

    Raises:
        UserError: it has fewer than two rows, a number that is not positive and finite, or
            frequencies that do not rise.
    """
    positive = np.isfinite(amplitudes).all() and (amplitudes > 0).all()
    rising = np.isfinite(frequencies).all() and (np.diff(frequencies) > 0).all()
    if len(frequencies) < 2 or not positive or not rising or frequencies[0] < 0:
        raise UserError(
            f"the noise curve {path} is damaged: expected at least two rows, frequencies that rise "
            f"and positive values"
        )
    return frequencies, amplitudes


def family_files(folder: Path) -> tuple[str, tuple[FileVersion, ...]]:
    """Return a folder's name and its files of noise curves, in the order of their names.

    Raises:
        UserError: there is none.
    """
    suffixes = (*TABLE_SUFFIXES, *HDF_SUFFIXES)
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.lower().startswith("readme")
    )
    if not paths:
        raise UserError(
            f"the folder of noise curves {folder} holds none: expected files that end in "
            f"{', '.join(suffixes)}, or subfolders named like the detectors"
        )
    return str(folder), tuple(file_version(path) for path in paths)


@functools.lru_cache(maxsize=8)
def read_family(folder: str, files: tuple[FileVersion, ...]) -> NoiseCurve:
    """Return the family of the curves in a folder; see `family_files`.

    It is read again when a file was added, removed or replaced.

    Raises:
        UserError: a file is damaged.
    """
    members = tuple(read_file(*file) for file in files)
    # The geometric mean, on the grid of the first member and as far as all of them go.
    last = min(member.end for member in members)
    grid = members[0].frequencies
    grid = grid[grid <= last]
    logs = [np.log(np.interp(grid, member.frequencies, member.amplitudes)) for member in members]
    return NoiseCurve(folder, grid, np.exp(np.mean(logs, axis=0)), members)


# --- bilby and LALSimulation -------------------------------------------------------------------


@functools.cache
def bilby_files() -> dict[str, Path]:
    """Return the files of bilby's noise curves by name; empty where it is not installed."""
    import importlib.util

    # Looked up without importing bilby, which takes seconds.
    spec = importlib.util.find_spec("bilby")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "gw" / "detector" / "noise_curves"
    # The ASD of a curve that comes as both is taken: it was listed last.
    paths = [path for path in folder.glob("*.txt") if not path.stem.endswith("_asd")]
    paths += folder.glob("*_asd.txt")
    return {path.stem.removesuffix("_psd").removesuffix("_asd"): path for path in paths}


def bilby_curve(name: str) -> NoiseCurve | None:
    """Return the curve of a file that bilby ships."""
    path = bilby_files().get(name)
    return None if path is None else NoiseCurve(name, *read_table(path))


def lalsimulation_names() -> list[str]:
    """Return the names of LALSimulation's curves; empty where it is not installed."""
    try:
        import lalsimulation
    except ImportError:
        return []
    prefix = "SimNoisePSD"
    names = [name.removeprefix(prefix) for name in dir(lalsimulation) if name.startswith(prefix)]
    # What ends in Ptr is a pointer to a function, and FromFile reads a file.
    return [name for name in names if name and name != "FromFile" and not name.endswith("Ptr")]


def lalsimulation_curve(name: str) -> NoiseCurve | None:
    """Return a curve of LALSimulation as a table, from 5 Hz up to where it ends."""
    if name not in lalsimulation_names():
        return None
    import lal
    import lalsimulation

    function = getattr(lalsimulation, f"SimNoisePSD{name}")
    frequencies = np.arange(5.0, LAL_END + LAL_RESOLUTION, LAL_RESOLUTION)
    try:
        power = np.array([function(float(frequency)) for frequency in frequencies])
    except TypeError:
        # Curves of tables fill a series instead; what lies outside the table stays zero.
        count = round(LAL_END / LAL_RESOLUTION) + 1
        unit = lal.Unit("strain^2 s")
        series = lal.CreateREAL8FrequencySeries("", 0, 0.0, LAL_RESOLUTION, unit, count)
        try:
            function(series, 5.0)
        except (TypeError, RuntimeError):  # a function of other arguments is no curve
            return None
        power = np.array(series.data.data)
        frequencies = np.arange(count) * LAL_RESOLUTION
    used = np.isfinite(power) & (power > 0)
    if used.sum() < 2:
        return None
    return NoiseCurve(name, frequencies[used], np.sqrt(power[used]))
