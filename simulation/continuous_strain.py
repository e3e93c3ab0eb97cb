"""Continuous strain in files: noise of any length, and the same noise with injections.

`simulate_strain` writes segments of background and foreground, which `detect.py`, gwpy and PyCBC
read, and a table of the injections, from which bilby can compute them again. Segments are finished
one by one, so that a killed run resumes where it stopped, and every file is a function of the
settings alone: it is the same bit by bit, however often the run was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configuration.json_types import to_plain
from physics.constants import GPS_START
from physics.curves import DetectorNoise
from physics.observation import COMPETITION, Observation
from physics.polarisations import find_approximant
from physics.population import COMPETITION_POPULATION, Population
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, remove_temporaries, write_json
from runtime.machine import num_cores
from runtime.optional_packages import require
from runtime.seeds import counted_seed
from runtime.worker_pool import run_parallel
from simulation.continuous_noise import ContinuousNoise
from simulation.continuous_strain_files import (
    BACKGROUND,
    FINISHED,
    FOREGROUND,
    INJECTIONS,
    SEGMENTS,
    STARTED,
    Segment,
    StrainFile,
    find_strain,
    format_injection,
    injection_columns,
    read_record,
    waveform_arguments,
)
from simulation.dataset_files import (
    LOCK,
    check_settings,
    first_difference,
    locked_folder,
    write_table,
)
from simulation.strain_injections import AFTER_MERGER, InjectedSignal, InjectionPlan

FORMAT = 1  # raise it when the same settings would give other strain
SHORTEST_SEGMENT = 16  # s
MOST_SECONDS = 10 * 366 * 86_400  # ten years
SAMPLE_BYTES = 4  # float32
SECONDS_BETWEEN_LINES = 5  # of the log


@dataclass(frozen=True)
class StrainSettings:
    """What strain is simulated.

    Args:
        seconds: of strain in all segments together.
        observation: detectors, sampling rate and noise curves. Of a family of curves each detector
            draws one in each segment.
        population: what injections are drawn from.
        spacing: shortest and longest time between the arrivals of two injections, s; None makes
            no foreground.
        seed: of everything.
        longest_segment: s; all segments are equally long, to a second, and none longer.
        gap: between two segments, s.
        start: GPS time of the first segment, s.

    Raises:
        UserError: a number is out of its range, or segments are too short.
    """

    seconds: int
    observation: Observation = COMPETITION
    population: Population = COMPETITION_POPULATION
    spacing: tuple[float, float] | None = (24.0, 30.0)
    seed: int = 2021
    longest_segment: int = 4096
    gap: int = 64
    start: int = GPS_START

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("gap", 0), ("start", 0), ("longest_segment", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} of simulated strain is {getattr(self, name)}: expected {least} or more"
                )
        if self.seconds > MOST_SECONDS:
            raise UserError(
                f"{self.seconds} s of strain: expected {MOST_SECONDS} s (ten years) or less"
            )
        if self.spacing is not None:
            low, high = self.spacing
            if not 1 <= low <= high < math.inf:
                raise UserError(
                    f"injections every {low:g} to {high:g} s: expected two rising numbers of 1 s "
                    f"or more, e.g. 24-30"
                )
        shortest = min((segment.duration for segment in self.segments()), default=self.seconds)
        needed = max(SHORTEST_SEGMENT, math.ceil(self.observation.window))
        if self.spacing is not None:
            needed = max(needed, math.ceil(self.spacing[1] + AFTER_MERGER))
        if shortest < needed:
            raise UserError(
                f"{self.seconds} s of strain in segments of {self.longest_segment} s or less makes "
                f"segments of {shortest} s, and one of {needed} s is the shortest that holds a "
                f"window{' and an injection' if self.spacing else ''}: ask for more hours or "
                f"longer segments"
            )

    def segments(self) -> list[Segment]:
        """Return all segments in order of time; the first ones are a second longer if need be."""
        count = max(math.ceil(self.seconds / self.longest_segment), 0)
        segments, start = [], self.start
        for number in range(count):
            duration = self.seconds // count + (number < self.seconds % count)
            segments.append(Segment(number, start, duration))
            start += duration + self.gap
        return segments

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which files there are of each segment and detector."""
        return (BACKGROUND,) if self.spacing is None else (BACKGROUND, FOREGROUND)

    def noises(self, segment: Segment) -> tuple[DetectorNoise, ...]:
        """Return the noise of each detector in a segment."""
        chosen = []
        for channel, detector in enumerate(self.observation.detectors):
            noise = self.observation.noise(channel)
            if noise.curve.members:
                seed = counted_seed("curve of a segment", self.seed, segment.number, detector)
                member = np.random.default_rng(seed).integers(len(noise.curve.members))
                noise = DetectorNoise(
                    noise.curve.members[member], noise.sample_rate, noise.min_frequency
                )
            chosen.append(noise)
        return tuple(chosen)

    def to_plain(self) -> dict[str, Any]:
        """Return all that decides the content of the files, in JSON's own types."""
        observation = self.observation
        return to_plain(
            {
                "seconds": self.seconds,
                "observation": {
                    "detectors": observation.detectors,
                    "sample_rate": observation.sample_rate,
                    "window": observation.window,
                },
                "min_frequency": observation.min_frequency,
                "curves": observation.curves,
                "curve_digests": [
                    observation.noise_curve(d).digest for d in range(observation.num_detectors)
                ],
                "injections": self.spacing,
                "population": self.population if self.spacing else None,
                "seed": self.seed,
                "segment": self.longest_segment,
                "gap": self.gap,
                "gps_start": self.start,
                "format": FORMAT,
            }
        )


# --- one segment --------------------------------------------------------------------------------


def write_segment(out: Path, settings: StrainSettings, segment: Segment) -> Segment:
    """Write the strain files of a segment and, last, its record; return the segment."""
    observation = settings.observation
    noises = settings.noises(segment)
    series = [
        ContinuousNoise(noise, settings.seed, segment.number, detector)
        for noise, detector in zip(noises, observation.detectors, strict=True)
    ]
    with contextlib.ExitStack() as stack:
        files = {}
        for kind in settings.kinds:
            for detector in observation.detectors:
                name = segment.strain_file(kind, detector)
                path = stack.enter_context(atomic_path(out / name))
                files[name] = stack.enter_context(
                    StrainFile(path, detector, kind, segment, observation.sample_rate)
                )
        if settings.spacing is None:
            signals = iter(())
        else:
            plan = InjectionPlan(
                settings.population,
                settings.spacing,
                observation,
                noises,
                segment.start,
                segment.duration,
                settings.seed,
                segment.number,
            )
            signals = plan.signals_by_first_sample()
        adder = SignalAdder(signals)
        samples, block_size = segment.duration * observation.sample_rate, series[0].block_size
        for number, first in enumerate(range(0, samples, block_size)):
            count = min(block_size, samples - first)
            strain = np.stack([noise.block(number)[:count] for noise in series])
            for kind in settings.kinds:
                if kind == FOREGROUND:
                    adder.add(strain, first)
                for detector, values in zip(observation.detectors, strain, strict=True):
                    files[segment.strain_file(kind, detector)].write(values)
        rows = sorted(adder.rows, key=lambda row: row["geocent_time"])
        for row in rows:
            row |= waveform_arguments(settings.population)
    facts = {
        name: {"bytes": os.stat(out / name).st_size, "samples": file.digest.hexdigest()}
        for name, file in files.items()
    }
    record = {
        "start": segment.start,
        "duration": segment.duration,
        "curves": [noise.curve.name for noise in noises],
        "files": facts,
        "injections": rows,
    }
    write_json(out / segment.record_file, record)
    return segment


class SignalAdder:
    """Adds signals to strain that comes block by block; a signal may reach over several blocks.

    Args:
        signals: in the order of their first samples.

    Attributes:
        rows: the parameters of all signals that have been reached.
    """

    def __init__(self, signals: Iterator[InjectedSignal]) -> None:
        self.signals = signals
        self.waiting: InjectedSignal | None = next(signals, None)
        self.present: list[InjectedSignal] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, strain: np.ndarray, first: int) -> None:
        """Add signals to a block, in place.

        Args:
            strain: (detector, time), in units of 1e-21.
            first: number of the block's first sample within the segment.
        """
        end = first + strain.shape[1]
        while self.waiting is not None and self.waiting.first < end:
            self.present.append(self.waiting)
            self.rows.append(self.waiting.row)
            self.waiting = next(self.signals, None)
        for signal in self.present:
            low, high = max(signal.first, first), min(signal.end, end)
            if low < high:
                part = signal.strain[:, low - signal.first : high - signal.first]
                strain[:, low - first : high - first] += part
        self.present = [signal for signal in self.present if signal.end > end]


# --- all segments -------------------------------------------------------------------------------


def simulate_strain(
    out: str | os.PathLike[str],
    settings: StrainSettings,
    workers: int | None = None,
    overwrite: bool = False,
    show_progress: bool | None = None,
) -> dict[str, Any]:
    """Write simulated strain; see the top of `continuous_strain_files` for the files.

    The same settings give the same bytes, whatever the number of workers. A run that was
    interrupted resumes when it is started again, and files that were removed or cut short are
    written again.

    Args:
        out: a folder that is empty, missing, or holds strain of these settings.
        settings: what to simulate.
        workers: how many processes; default one a core.
        overwrite: move strain of other settings that lies in `out` aside, to `<out>.<time>`.
        show_progress: whether to draw a bar; default only on a terminal.

    Returns:
        "out", "segments", "injections", "seconds" (that it took), and "written": how many segments
        were still to do.

    Raises:
        UserError: the folder holds something else, another process simulates into it, a package is
            missing, or there is too little space on the disk.
    """
    began = time.perf_counter()
    out, plain = Path(out), settings.to_plain()
    require("h5py", "gwosc")
    if settings.spacing is not None:
        find_approximant(settings.population.approximant)
    segments = settings.segments()

    def summary(written: int, injections: int) -> dict[str, Any]:
        return {
            "out": str(out),
            "segments": len(segments),
            "injections": injections,
            "written": written,
            "seconds": time.perf_counter() - began,
        }

    # Before the lock, because finished strain may lie where nothing can be written.
    if state_of(out, plain, overwrite) == "finished":
        records = [read_record(out, segment) for segment in segments]
        if all(records) and all((out / name).is_file() for name in (INJECTIONS, SEGMENTS)):
            return summary(0, sum(len(record["injections"]) for record in records))
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_folder(out))
        # Once more: another process may have begun or finished in the meantime.
        state = state_of(out, plain, overwrite)
        if state == "other":
            aside = move_aside(out)
            LOGGER.warning("%s: moved aside to %s", out, aside.name)
            # The lock went aside with its folder; the new folder needs one of its own.
            (aside / LOCK).unlink(missing_ok=True)
            stack.enter_context(locked_folder(out))
        to_do = [segment for segment in segments if read_record(out, segment) is None]
        remove_leftovers(out, settings, to_do)
        check_space(out, settings, to_do)
        if state == "finished":  # but files are missing
            os.replace(out / FINISHED, out / STARTED)
        write_json(out / STARTED, {"settings": plain})
        write_segments(out, settings, to_do, workers or num_cores(), show_progress)
        injections = write_tables(out, settings, segments)
        os.replace(out / STARTED, out / FINISHED)  # last: now everything is there
    return summary(len(to_do), injections)


def state_of(out: Path, plain: dict[str, Any], overwrite: bool) -> str:
    """Return "absent", "started", "finished", or "other": of other settings, to be overwritten.

    Raises:
        UserError: the folder holds something else, or strain of other settings and `overwrite` is
            False.
    """
    state, known = find_strain(out)
    if state != "absent":
        if overwrite and first_difference(known, plain):
            return "other"
        check_settings(out, known, plain)
    return state


def remove_leftovers(out: Path, settings: StrainSettings, to_do: list[Segment]) -> None:
    """Remove what a killed run left half written."""
    remove_temporaries(out, (INJECTIONS, SEGMENTS, STARTED, FINISHED))
    paths = [out / segment.record_file for segment in to_do]
    for kind in settings.kinds:
        for detector in settings.observation.detectors:
            paths += [out / segment.strain_file(kind, detector) for segment in to_do]
    for folder in {path.parent for path in paths}:
        if folder.is_dir():
            remove_temporaries(folder, [path.name for path in paths if path.parent == folder])


def check_space(out: Path, settings: StrainSettings, to_do: list[Segment]) -> None:
    """Check that the files will find room.

    Raises:
        UserError: the disk has less space than they take.
    """
    rate, detectors = settings.observation.sample_rate, settings.observation.num_detectors
    samples = sum(segment.duration for segment in to_do) * rate * detectors * len(settings.kinds)
    needed, free = samples * SAMPLE_BYTES, shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"{out}: the strain takes {needed / 2**30:.1f} GiB and its disk has {free / 2**30:.1f} "
            f"GiB free: free some space, choose another folder with --out, or ask for fewer hours"
        )


def write_segments(
    out: Path,
    settings: StrainSettings,
    to_do: list[Segment],
    workers: int,
    show_progress: bool | None,
) -> None:
    """Write segments, in processes of their own where there are several."""
    total, done = sum(segment.duration for segment in to_do), 0
    began = said = time.perf_counter()
    tasks = ((out, settings, segment) for segment in to_do)
    with progress(total=total, desc="strain", unit="s", show=show_progress) as bar:
        for segment in run_parallel(write_segment, tasks, min(workers, len(to_do))):
            bar.update(segment.duration)
            done += segment.duration
            now = time.perf_counter()
            left = (now - began) * (total - done) / done
            # Where nobody sees the bar, a line every few seconds.
            if bar.disable and left and now - said > SECONDS_BETWEEN_LINES:
                said = now
                words = "%d of %d s of strain written, %s left"
                LOGGER.info(words, done, total, format_seconds(left))


def write_tables(out: Path, settings: StrainSettings, segments: list[Segment]) -> int:
    """Write the tables of injections and segments from the records; return how many injections.

    Raises:
        UserError: a segment has been removed meanwhile.
    """
    detectors = settings.observation.detectors
    injections, rows = [], []
    content = hashlib.blake2b(digest_size=16)
    for segment in segments:
        record = read_record(out, segment)
        if record is None:
            raise UserError(
                f"{out / segment.record_file} or a file of its segment has been removed while "
                f"others were written: run the same command again"
            )
        rows.append((segment.start, segment.end, *record["curves"]))
        injections += [format_injection(row, detectors) for row in record["injections"]]
        for facts in record["files"].values():
            content.update(facts["samples"].encode())
    write_table(out / SEGMENTS, ("start", "end", *(f"curve_{d}" for d in detectors)), rows)
    if settings.spacing is not None:
        write_table(out / INJECTIONS, injection_columns(detectors), injections)
    write_json(out / STARTED, {"settings": settings.to_plain(), "digest": content.hexdigest()})
    return len(injections)
