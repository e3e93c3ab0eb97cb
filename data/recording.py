"""The strain of one detector: a `Recording` of one `Source` or several, whatever they are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from data.time_segments import TimeSegments, merge_segments, subtract_segments
from physics.observation import COMPETITION
from runtime.errors import UserError

SITES = {"H1": "Hanford", "L1": "Livingston", "V1": "Virgo"}


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
        detector: "H1", "L1" or "V1".
        sources: in any order.

    Raises:
        UserError: the sources differ in their sampling rates, or overlap in time.
    """

    def __init__(self, detector: str, sources: Sequence[Source]) -> None:
        self.detector = detector
        self.sources = sorted(sources, key=lambda source: source.start)
        self.rate = self.sources[0].rate
        for before, after in zip(self.sources, self.sources[1:], strict=False):
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
        """Return a digest of each of its sources, in order of time."""
        return [source.content_digest() for source in self.sources]

    def data_segments(self) -> TimeSegments:
        """Return the GPS segments in which there is strain, sorted."""
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
        for source in self.sources:
            # position of the first sample wanted within the source, which may be negative
            first = round((start - source.start) * self.rate)
            low, high = max(first, 0), min(first + count, source.size)
            if low < high:
                values[low - first : high - first] = source.read(low, high)
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
        raise UserError(
            f"{where} is sampled at {rate:g} Hz and the networks take {lowest} Hz: use the "
            f"4 kHz or 16 kHz file"
        )
    return round(rate)


def explain_wrong_detector(path: Path, found: str, detector: str) -> str:
    """Return a sentence for a file of a detector other than the one it was given for."""
    name = found.upper()
    advice = f"give a file of {detector}"
    if name in SITES:  # the command line can name it
        advice = (
            f"{advice}, or name this one for {name} (detect.py: --strain {name}={path}; "
            f"RealStrain: under {name} in files)"
        )
    return f"{path} holds strain of {found} and was given for {detector}: {advice}"


def file_digest(path: Path) -> str:
    """Return a digest of the bytes of a file."""
    content = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(2**22):
            content.update(block)
    return content.hexdigest()
