"""Where the strain of a run comes from: simulated segment by segment, or the challenge's files.

Both give segments with background and foreground, as `Recording`s, and the injections.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.mdc.challenge_files import read_injections
from data.recording import Recording, StrainInMemory, file_digest
from data.strain_files import open_recordings
from physics.observation import Observation
from physics.population import Population
from runtime.errors import UserError
from runtime.worker_pool import run_parallel
from simulation.continuous_strain_files import BACKGROUND, FOREGROUND, Segment
from simulation.strain_segments import SimulatedSegment, simulate_segment
from simulation.strain_settings import StrainSettings

KINDS = (BACKGROUND, FOREGROUND)


@dataclass(frozen=True)
class LoadedSegment:
    """A segment that is ready to be conditioned.

    Attributes:
        segment: when.
        recordings: by "background" and "foreground", by detector.
        injections: parameters by bilby's names, in order of time.
        glitches: time, detector, kind and SNR of each that is known.
    """

    segment: Segment
    recordings: Mapping[str, Mapping[str, Recording]]
    injections: list[dict[str, Any]]
    glitches: list[dict[str, Any]]


class StrainSource(Protocol):
    """Strain of some segments.

    Attributes:
        observation: detectors and rate of the strain.
        population: that the injections were drawn from; None where it is not known.
    """

    observation: Observation
    population: Population | None

    def segments(self) -> list[Segment]:
        """Return all segments in order of time."""

    def identity(self) -> dict[str, Any]:
        """Return in JSON's own types all that decides the strain of a segment by its number."""

    def load(self, segments: Sequence[Segment]) -> Iterator[LoadedSegment]:
        """Yield some segments with their strain, in any order."""


class SimulatedStrain:
    """Strain that is simulated as it is wanted and never written.

    Args:
        settings: of the strain. All segments but a single one must be of the full length, so that
            longer runs begin with the segments of shorter ones.
        workers: processes that simulate while others search; 1 simulates in this one.

    Raises:
        UserError: the seconds are no whole number of segments.
    """

    def __init__(self, settings: StrainSettings, workers: int = 1) -> None:
        seconds, segment = settings.seconds, settings.longest_segment
        if seconds > segment and seconds % segment:
            raise UserError(
                f"--duration of {seconds} s is no whole number of segments of {segment} s: give "
                f"one, e.g. {seconds // segment * segment}s"
            )
        if settings.spacing is None:
            raise UserError("strain without injections has no sensitive distance: name a spacing")
        self.settings, self.workers = settings, workers
        self.observation, self.population = settings.observation, settings.population

    def segments(self) -> list[Segment]:
        return self.settings.segments()

    def identity(self) -> dict[str, Any]:
        plain = self.settings.to_plain()
        # A longer run of the same settings adds segments and leaves the earlier ones as they are.
        seconds = plain.pop("seconds")
        return {"simulated": {**plain, "segment": min(plain["segment"], seconds)}}

    def load(self, segments: Sequence[Segment]) -> Iterator[LoadedSegment]:
        tasks = ((self.settings, segment) for segment in segments)
        for simulated in run_parallel(simulate_segment, tasks, self.workers):
            yield LoadedSegment(
                simulated.segment,
                {kind: self.recordings_of(simulated, kind) for kind in KINDS},
                simulated.injections,
                simulated.glitches,
            )

    def recordings_of(self, simulated: SimulatedSegment, kind: str) -> dict[str, Recording]:
        """Return the strain of one kind by detector."""
        rate, start = self.observation.sample_rate, float(simulated.segment.start)
        return {
            detector: Recording(
                detector, [StrainInMemory(f"{kind} of {detector}", values, rate, start)]
            )
            for detector, values in zip(
                self.observation.detectors, in_strain(simulated.strain[kind]), strict=True
            )
        }


def in_strain(values: np.ndarray) -> np.ndarray:
    """Return strain in units of 1e-21 as recordings have it, without a unit, float64."""
    from physics.constants import STRAIN_UNIT

    return values.astype(np.float64) * STRAIN_UNIT


class ChallengeStrain:
    """The strain of the challenge's files, of which each holds all detectors.

    Args:
        background, foreground: strain files.
        injections: file of the injections in the foreground.
        observation: detectors and rate that are wanted.
        population: that the injections were drawn from; None where it is not known.
        longest: s; longer stretches without gaps are searched in parts.

    Raises:
        UserError: a file is missing or damaged, or they are of different times.
    """

    def __init__(
        self,
        background: Path,
        foreground: Path,
        injections: Path,
        observation: Observation,
        population: Population | None,
        longest: int = 3600,
    ) -> None:
        self.observation, self.population, self.longest = observation, population, longest
        self.files = {BACKGROUND: background, FOREGROUND: foreground, "injections": injections}
        self.recordings = {
            kind: open_recordings(
                [f"{detector}={path}" for detector in observation.detectors],
                observation=observation,
            )
            for kind, path in ((BACKGROUND, background), (FOREGROUND, foreground))
        }
        self.injections = read_injections(injections)
        times = {kind: self.common_segments(kind) for kind in KINDS}
        if times[BACKGROUND] != times[FOREGROUND]:
            raise UserError(
                f"{background} and {foreground} are of different times: give the two files of one "
                f"data set"
            )
        self.times = times[FOREGROUND]

    def common_segments(self, kind: str) -> list[tuple[float, float]]:
        """Return when the detectors of a kind have strain, which must be the same for all.

        Raises:
            UserError: it is not.
        """
        found = [recording.data_segments() for recording in self.recordings[kind].values()]
        if any(each != found[0] for each in found):
            raise UserError(
                f"the detectors of the {kind} have strain at different times, and the challenge's "
                f"files have not: give the files as they were generated"
            )
        return found[0]

    def segments(self) -> list[Segment]:
        segments: list[Segment] = []
        for start, end in self.times:
            # Whole seconds, as the challenge's segments are; equal parts, to a second.
            duration = math.floor(end - start)
            parts = max(math.ceil(duration / self.longest), 1)
            edges = [math.ceil(start) + duration * part // parts for part in range(parts + 1)]
            segments += [
                Segment(len(segments) + part, edges[part], edges[part + 1] - edges[part])
                for part in range(parts)
            ]
        return segments

    def identity(self) -> dict[str, Any]:
        # Not of each series: a file of a month has hundreds of them.
        digests = {name: file_digest(path) for name, path in self.files.items()}
        return {
            "files": digests,
            "segment": self.longest,
            "detectors": list(self.observation.detectors),
        }

    def load(self, segments: Sequence[Segment]) -> Iterator[LoadedSegment]:
        for segment in segments:
            inside = [
                row for row in self.injections if segment.start <= row["geocent_time"] < segment.end
            ]
            yield LoadedSegment(segment, self.recordings, inside, [])
