"""The strain of one detector: a `Recording` of one `Source` or several, whatever they are."""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from data.time_segments import TimeSegments, intersect_segments, merge_segments, subtract_segments
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError

GWOSC_RATES = (4096, 16384)  # Hz, of GWOSC's files, which are called 4 kHz and 16 kHz


@dataclass(frozen=True)
class StrainRequest:
    """What is wanted of a strain file.

    Attributes:
        detector: whose strain it should be.
        observation: which detectors the networks observe, and at what rate.
        channel: of a file that has several of this detector; None takes the only one.
        data_quality: bits that must be set where strain is used; None takes the usual ones (see
            `data.quality_bits`).
    """

    detector: str
    observation: Observation = COMPETITION
    channel: str | None = None
    data_quality: tuple[str, ...] | None = None


class Source(Protocol):
    """Evenly sampled strain of one detector, of which any part can be read."""

    name: str
    rate: int  # Hz
    start: float  # GPS, s
    size: int  # samples
    calibration: str  # which release of the strain, as the file states it; "" where it does not

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first to last - 1, (last - first,) float64."""

    def content_digest(self) -> str:
        """Return a digest of all that can be read."""

    def data_segments(self) -> TimeSegments:
        """Return when there is strain, sorted; gaps that the file states are left out."""

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        """Return by name of a data-quality bit when it says that strain is not to be used."""


class StrainInMemory:
    """Strain in memory, such as fetched from the open-data service.

    Args:
        name: how messages name it.
        values: (samples,).
        rate: Hz.
        start: GPS, s.
    """

    calibration = ""

    def __init__(self, name: str, values: np.ndarray, rate: int, start: float) -> None:
        self.name, self.values = name, np.asarray(values, np.float64)
        self.rate, self.start, self.size = rate, start, len(values)

    def read(self, first: int, last: int) -> np.ndarray:
        return self.values[first:last]

    def content_digest(self) -> str:
        content = hashlib.blake2b(f"{self.rate} {self.start!r} ".encode(), digest_size=16)
        content.update(np.ascontiguousarray(self.values).data)
        return content.hexdigest()

    def data_segments(self) -> TimeSegments:
        return [(self.start, self.start + self.size / self.rate)]

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return {}


class Recording:
    """The strain of one detector, from one file or several; NaN where there is none.

    Args:
        detector: e.g. "H1".
        sources: in any order.

    Raises:
        UserError: the sources differ in their sampling rates or calibrations, or overlap in time.
    """

    def __init__(self, detector: str, sources: Sequence[Source]) -> None:
        self.detector = detector
        self.sources = sorted(sources, key=lambda source: source.start)
        self.starts = [source.start for source in self.sources]
        self.limits: TimeSegments | None = None
        self.rate = self.sources[0].rate
        stated = [source for source in self.sources if source.calibration]
        for before, after in itertools.pairwise(stated):
            if after.calibration != before.calibration:
                raise UserError(
                    f"{before.name} holds {before.calibration} and {after.name} holds "
                    f"{after.calibration}: two calibrations of {detector} are not joined; give "
                    f"files of one of them"
                )
        for before, after in itertools.pairwise(self.sources):
            if after.rate != self.rate:
                raise UserError(
                    f"{after.name} is sampled at {after.rate} Hz and {before.name} at "
                    f"{self.rate} Hz: give files of one rate for {detector}"
                )
            if after.start < before.start + before.size / before.rate - 0.5 / self.rate:
                raise UserError(
                    f"{before.name} and {after.name} overlap: give each second of {detector} once"
                )
        self.start = self.sources[0].start
        last = self.sources[-1]
        self.end = last.start + last.size / last.rate

    def content_digests(self) -> list[str]:
        """Return a digest of each of its sources, in order of time, and one of its limits."""
        digests = [source.content_digest() for source in self.sources]
        if self.limits is not None:
            text = repr(self.limits).encode()
            digests.append(f"within {hashlib.blake2b(text, digest_size=16).hexdigest()}")
        return digests

    def limited_to(self, segments: TimeSegments) -> Recording:
        """Return the same recording with strain in some sorted GPS segments alone, NaN elsewhere.

        Filters spoil what is close to the NaN, about a second on either side.
        """
        limited = Recording(self.detector, self.sources)
        allowed = intersect_segments(self.data_segments(), segments)
        if allowed != limited.data_segments():
            limited.limits = allowed
        return limited

    def data_segments(self) -> TimeSegments:
        """Return the GPS segments in which there is strain, sorted."""
        if self.limits is not None:
            return self.limits
        return merge_segments(*(source.data_segments() for source in self.sources))

    def excluded_segments(self) -> dict[str, TimeSegments]:
        """Return by name of a data-quality bit when it says that strain is not to be used."""
        found: dict[str, list[tuple[float, float]]] = {}
        for source in self.sources:
            for bit, segments in source.excluded_segments().items():
                found.setdefault(bit, []).extend(segments)
        return {bit: merge_segments(segments) for bit, segments in found.items()}

    def usable_segments(self) -> TimeSegments:
        """Return the GPS segments in which there is strain that the files' bits do not exclude."""
        excluded = merge_segments(*self.excluded_segments().values())
        return subtract_segments(self.data_segments(), excluded)

    def read(self, start: float, count: int) -> np.ndarray:
        """Return `count` samples from a GPS time on, (count,) float64."""
        values = np.full(count, np.nan)
        # A month has hundreds of sources: begin with the last that starts before this time.
        number = max(bisect.bisect_right(self.starts, start) - 1, 0)
        for source in itertools.islice(self.sources, number, None):
            # position of the first sample wanted within the source, which may be negative
            first = round((start - source.start) * self.rate)
            if first + count <= 0:
                break
            low, high = max(first, 0), min(first + count, source.size)
            if low < high:
                values[low - first : high - first] = source.read(low, high)
        if self.limits is not None:
            forbidden = subtract_segments([(start, start + count / self.rate)], self.limits)
            for begin, end in forbidden:
                # Sample i is that of start + i / rate. A GPS time in float64 is rounded to 2.4e-7
                # s, which is less than a hundredth of a sample below 40 kHz.
                low, high = (math.ceil((t - start) * self.rate - 0.01) for t in (begin, end))
                values[max(low, 0) : max(high, 0)] = np.nan
        return values


def check_rate(rate: float, where: str, lowest: int = COMPETITION.sample_rate) -> int:
    """Return a sampling rate as a whole number of Hz.

    Args:
        rate: Hz.
        where: the file, for messages.
        lowest: Hz, that the networks need.

    Raises:
        UserError: it is not a whole number, or is below what the networks need.
    """
    if not math.isfinite(rate) or abs(rate - round(rate)) > 1e-8 * rate or rate > 2**20:
        raise UserError(f"{where}: a sampling rate of {rate:g} Hz is not a whole number of Hz")
    if round(rate) < lowest:
        if lowest <= GWOSC_RATES[0]:
            advice = "use the 4 kHz or 16 kHz file"
        elif lowest <= GWOSC_RATES[1]:
            advice = "use the 16 kHz file"
        else:
            advice = f"give strain at {lowest} Hz or more, or networks of a lower rate"
        raise UserError(
            f"{where} is sampled at {rate:g} Hz and the networks take {lowest} Hz: {advice}"
        )
    return round(rate)


def explain_wrong_detector(where: str, found: str, request: StrainRequest) -> str:
    """Return a sentence for a file of a detector other than the one it was given for.

    Args:
        where: the file.
        found: the detector that the file names.
        request: what was wanted.
    """
    name, detector = found.upper(), request.detector
    advice = f"give a file of {detector}"
    if name in request.observation.detectors:  # the command line can name it
        advice = (
            f"{advice}, or name this one for {name} (detect.py: --strain {name}={where}; "
            f"RealStrain: under {name} in files)"
        )
    return f"{where} holds strain of {found} and was given for {detector}: {advice}"


def file_digest(path: Path) -> str:
    """Return a digest of the bytes of a file; one that has not changed is read once."""
    facts = os.stat(path)
    return digest_of_bytes(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)


@functools.cache
def digest_of_bytes(path: str, *facts: int) -> str:
    """Return a digest of a file.

    Args:
        path: of the file.
        facts: size, time of the last change and inode, which tell whether it is still the same.
    """
    content = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(2**22):
            content.update(block)
    return content.hexdigest()
