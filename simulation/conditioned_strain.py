"""Hours of recorded strain, conditioned once and then read by memory map."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.recording import Recording, Source, StrainRequest
from data.strain_conditioning import condition_strain
from data.strain_files import open_recording
from data.strain_paths import find_strain_files
from data.time_segments import TimeSegments
from physics.cache_folder import cache_folder, kept_path, remove_abandoned
from physics.observation import Observation
from runtime.console import LOGGER
from runtime.errors import UserError

FORMAT = 1  # raise it when the same files would give other numbers
BLOCK_SECONDS = 1024  # conditioned at once


@dataclass(frozen=True)
class StrainRun:
    """Files that follow each other without a gap.

    Attributes:
        start: GPS time in s of the first sample.
        first: its number in the array of all runs.
        count: samples.
    """

    start: float
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class ConditionedStrain:
    """The strain of one detector at the rate of an observation.

    Attributes:
        detector: its name.
        values: (samples,) float32 in 1e-21, NaN in gaps, memory-mapped; all runs one after the
            other.
        runs: in order of time.
        excluded: by name of a data-quality bit, when it says that strain is not to be used.
    """

    detector: str
    values: np.ndarray
    runs: tuple[StrainRun, ...]
    excluded: Mapping[str, TimeSegments] = field(default_factory=dict)


def find_runs(sources: Sequence[Source], sample_rate: int) -> tuple[StrainRun, ...]:
    """Return the runs of sources, which are in order of time.

    Args:
        sources: of one detector.
        sample_rate: Hz, of the conditioned strain.
    """
    bounds: list[list[float]] = []  # first and last second of each run
    for source in sources:
        end = source.start + source.size / source.rate
        if bounds and source.start - bounds[-1][1] < 0.5 / source.rate:
            bounds[-1][1] = end
        else:
            bounds.append([source.start, end])
    counts = [math.floor((end - start) * sample_rate) for start, end in bounds]
    firsts = itertools.accumulate(counts, initial=0)
    return tuple(
        StrainRun(start, first, count)
        for (start, _), first, count in zip(bounds, firsts, counts, strict=False)
    )


def open_conditioned_strain(
    files: Sequence[str],
    detector: str,
    observation: Observation,
    cache_dir: Path | None = None,
    data_quality: tuple[str, ...] | None = None,
) -> ConditionedStrain:
    """Return the strain of one detector in files, resampled and high-passed.

    That takes about a second for each hour of strain, and 29 MB an hour at 2,048 Hz. It is done
    once for the same content of the files, and kept.

    Args:
        files: in any order; each may also be a glob, a folder, a list or a frame cache.
        detector: whose strain they hold.
        observation: gives the rate and the lowest frequency.
        cache_dir: where to keep it; default `cache_folder()`.
        data_quality: bits that must be set where strain is used; None takes the usual ones (see
            `data.quality_bits`).

    Raises:
        UserError: a file is missing, damaged, of another detector or sampled too slowly, files
            overlap, or the strain is shorter than a window.
    """
    recording = open_files(files, detector, observation, data_quality)
    runs = find_runs(recording.sources, observation.sample_rate)
    longest = max(run.count for run in runs)
    if longest < observation.num_samples:
        raise UserError(
            f"RealStrain: the strain of {detector} in {files[0]} lasts "
            f"{longest / observation.sample_rate:g} s, shorter than a window of "
            f"{observation.window:g} s: give longer files"
        )
    text = repr(
        (
            FORMAT,
            detector,
            observation.sample_rate,
            observation.min_frequency,
            recording.content_digests(),
        )
    )
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    path = (cache_dir or cache_folder()) / f"strain-{detector}-{digest}.npy"
    size = sum(run.count for run in runs)
    if not is_kept(path, size):
        write_conditioned(path, recording, runs, observation)
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    return ConditionedStrain(detector, values, runs, recording.excluded_segments())


def open_files(
    files: Sequence[str],
    detector: str,
    observation: Observation,
    data_quality: tuple[str, ...] | None = None,
) -> Recording:
    """Open the strain files of a detector that a config names.

    Args:
        files, detector, observation, data_quality: as of `open_conditioned_strain`.

    Raises:
        UserError: a file is missing or cannot be used, or they do not fit together.
    """
    option = f"RealStrain: files of {detector} in dataset_params.noise"
    paths = [path for name in files for path in find_strain_files(name, detector, option)]
    return open_recording(paths, StrainRequest(detector, observation, None, data_quality))


def digests_of_files(files: Sequence[str], detector: str, observation: Observation) -> list[str]:
    """Return a digest of each strain file that a config names, in order of time.

    Raises:
        UserError: a file is missing or cannot be used, or they do not fit together.
    """
    return open_files(files, detector, observation, ()).content_digests()


def is_kept(path: Path, size: int) -> bool:
    """Return whether a whole array of so many float32 lies there."""
    try:
        known = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return False
    except (ValueError, EOFError, OSError) as error:
        LOGGER.warning("%s cannot be read (%s) and is computed again", path, error)
        return False
    return known.shape == (size,) and known.dtype == np.float32


def write_conditioned(
    path: Path, recording: Recording, runs: Sequence[StrainRun], observation: Observation
) -> None:
    """Condition a recording into a file, in blocks, so that memory does not grow with its length.

    Raises:
        UserError: a file of the recording cannot be read, or the disk is full.
    """
    LOGGER.info("conditioning the strain of %s into %s", recording.detector, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    rate, size = observation.sample_rate, sum(run.count for run in runs)
    with kept_path(path) as temporary:
        values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(size,))
        for run in runs:
            for first in range(0, run.count, BLOCK_SECONDS * rate):
                count = min(BLOCK_SECONDS * rate, run.count - first)
                block = condition_strain(recording, run.start + first / rate, count, observation)
                values[run.first + first : run.first + first + count] = block
        values.flush()
        del values
