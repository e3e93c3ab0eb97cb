"""The samples that a run was most wrong about, looked at: maps of their whitened strain.

Noise that scores highest and signals that score lowest are what a run is to be improved on: wrong
labels, glitches, signals too quiet for any detector. The maps are made where the samples' files
are at hand; summary.png and the report show them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.sample_files import load_index, read_strain
from data.strain_cache import StrainCache
from data.table_sampling import read_sampling
from physics.observation import Sampling
from runtime.errors import UserError

SHOWN = 4  # samples of each kind
PSD_SAMPLES = 48  # of noise, from which the power spectral density is estimated
LOWEST = 25.0  # Hz
HIGHEST = 0.4  # of the sampling rate, at most
OCTAVES_ABOVE = 4  # of LOWEST
ROWS, COLUMNS = 40, 128  # of a map: frequencies and times
Q = 8.0  # of the transform: centre frequency over bandwidth
LOUDEST = 4.0  # amplitude in units of that of the noise, that has the brightest colour
GROUPS = ("Noise that scores highest", "Signals that score lowest")


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        name: its id.
        score: its out-of-fold logit.
        fold: the fold whose network gave it.
        snr: the network SNR of its signal; None where there is none, or it is not known.
    """

    name: str
    score: float
    fold: int
    snr: float | None = None


@dataclass(frozen=True)
class SampleFiles:
    """Where the strain of a run's training samples lies.

    Attributes:
        table: of the samples, with their paths.
        cache: that is read where it is there; None for none.
        root: what the paths of the table are relative to; None for its folder.
    """

    table: Path
    cache: Path | None = None
    root: str | None = None


@dataclass(frozen=True)
class StrainMaps:
    """The samples of a run that are looked at.

    Attributes:
        run: its name.
        noise, signals: the highest-scoring noise and the lowest-scoring signals, each with its map
            (detectors, `ROWS`, `COLUMNS`), as `q_map` returns it.
        sampling: what they are samples of; None where they cannot be read.
        note: why there are none; None where there are.
    """

    run: str
    noise: list[tuple[Sample, np.ndarray]] = field(default_factory=list)
    signals: list[tuple[Sample, np.ndarray]] = field(default_factory=list)
    sampling: Sampling | None = None
    note: str | None = None


@dataclass(frozen=True)
class WorstSamples:
    """Which samples of a run to look at.

    Attributes:
        run: its name.
        files: of its samples.
        noise, signals: the most wrong one first.
        background: ids of noise, whose spectrum whitens.
    """

    run: str
    files: SampleFiles
    noise: list[Sample]
    signals: list[Sample]
    background: list[str]


def find_worst(
    run: str,
    files: SampleFiles,
    ids: np.ndarray,
    targets: np.ndarray,
    scores: np.ndarray,
    folds: np.ndarray,
    snr: np.ndarray | None = None,
) -> WorstSamples:
    """Return the highest-scoring noise and the lowest-scoring signals.

    Args:
        ids, targets, scores, folds: (n,) each, of out-of-fold rows with a finite score.
        snr: (n,) network SNR, NaN where it is not known; None where no one is.
    """
    signal = np.round(targets) == 1
    order = np.argsort(scores, kind="stable")
    lowest, highest = order[signal[order]][:SHOWN], order[::-1][~signal[order[::-1]]][:SHOWN]

    def listed(rows: np.ndarray) -> list[Sample]:
        return [
            Sample(
                str(ids[row]),
                float(scores[row]),
                int(folds[row]),
                float(snr[row]) if snr is not None and snr[row] > 0 else None,
            )
            for row in rows
        ]

    quiet = np.flatnonzero(~signal)
    spread = quiet[np.linspace(0, len(quiet) - 1, min(PSD_SAMPLES, len(quiet))).astype(int)]
    return WorstSamples(run, files, listed(highest), listed(lowest), ids[spread].tolist())


def map_strain(worst: WorstSamples) -> StrainMaps:
    """Return the maps of samples; where their strain is not at hand, why."""
    if not worst.background:
        return StrainMaps(worst.run, note="it has no noise, whose spectrum would whiten its strain")
    try:
        sampling, read = open_samples(worst.files)
        density = mean_spectrum(read(worst.background))  # of (n, detectors, samples)
    except (UserError, OSError) as error:
        return StrainMaps(worst.run, note=f"the strain of its samples is not at hand: {error}")

    def maps(chosen: Sequence[Sample]) -> list[tuple[Sample, np.ndarray]]:
        if not chosen:
            return []
        strain = read([sample.name for sample in chosen])
        return [
            (sample, q_map(row, density, sampling.sample_rate))
            for sample, row in zip(chosen, strain, strict=True)
        ]

    try:
        return StrainMaps(worst.run, maps(worst.noise), maps(worst.signals), sampling)
    except (UserError, OSError) as error:
        return StrainMaps(worst.run, note=f"the strain of its samples is not at hand: {error}")


def open_samples(files: SampleFiles) -> tuple[Sampling, Callable[[Sequence[str]], np.ndarray]]:
    """Return what the training samples of a run are, and a function from ids to their strain.

    The cache is read where it holds them, else their files.

    Raises:
        UserError: there is no table, or it cannot be read.
    """
    table = files.table
    sampling = read_sampling(table.parent)
    if files.cache is not None and files.cache.is_file():
        opened = StrainCache(files.cache, sampling)

        def of_cache(ids: Sequence[str]) -> np.ndarray:
            return opened.read(opened.rows_of(ids))

        return sampling, of_cache
    index = load_index(table, root=files.root)
    paths = dict(zip(index["id"], index["path"], strict=True))

    def of_files(ids: Sequence[str]) -> np.ndarray:
        missing = [name for name in ids if name not in paths]
        if missing:
            raise UserError(f"{table} has no row for {missing[0]!r}")
        return np.stack([read_strain(paths[name], sampling) for name in ids])

    return sampling, of_files


# --- from strain to a picture -----------------------------------------------------------------


def window_of(samples: int) -> np.ndarray:
    """Return the window (samples,) that strain is multiplied by, flat in its middle 90 %."""
    from scipy.signal.windows import tukey

    return tukey(samples, 0.1)


def mean_spectrum(strain: np.ndarray) -> np.ndarray:
    """Return the mean power (detectors, frequencies) of windowed strain (n, detectors, samples).

    The unit is that of |rfft|²; that of a spectral density differs by a factor, which cancels.
    """
    # A detector that is missing is silent; it stays so.
    spectra = np.abs(np.fft.rfft(strain.astype(np.float64) * window_of(strain.shape[-1]))) ** 2
    return spectra.mean(0)


def q_map(strain: np.ndarray, spectrum: np.ndarray, rate: float) -> np.ndarray:
    """Return the amplitude of whitened strain against time and frequency.

    Each row of the map is the whitened strain through a Gaussian band of width f / Q around f
    (Chatterji et al. 2004, Classical and Quantum Gravity 21, S1809). It is in units of what noise
    of the spectrum has there, so that noise alone is about 1 everywhere.

    Args:
        strain: (detectors, samples).
        spectrum: (detectors, frequencies), mean power of noise, as `mean_spectrum` returns it.
        rate: sampling rate, Hz.

    Returns:
        (detectors, `ROWS`, `COLUMNS`), the lowest frequency first.
    """
    samples = strain.shape[-1]
    spectra = np.fft.rfft(strain.astype(np.float64) * window_of(samples))
    with np.errstate(divide="ignore", invalid="ignore"):
        whitened = np.where(spectrum > 0, spectra / np.sqrt(spectrum), 0)  # of variance 1 in noise
    frequencies = np.fft.rfftfreq(samples, 1 / rate)
    top = min(LOWEST * 2**OCTAVES_ABOVE, HIGHEST * rate)
    centres = np.geomspace(LOWEST, top, ROWS)
    bands = np.exp(-0.5 * ((frequencies - centres[:, None]) / (centres[:, None] / Q)) ** 2)
    # analytic signal: positive frequencies only, at their places in a full spectrum of `samples`
    full = np.zeros((len(strain), ROWS, samples), complex)
    full[..., : len(frequencies)] = whitened[:, None] * bands
    amplitude = np.abs(np.fft.ifft(full))
    # Of white noise E|ifft|² is the sum of the squared band over samples².
    amplitude *= samples / np.sqrt((bands**2).sum(1))[:, None]
    parts = np.array_split(amplitude, COLUMNS, axis=-1)
    return np.stack([part.mean(-1) for part in parts], -1)
