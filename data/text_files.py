"""Strain in GWOSC's text files, .txt.gz: a header of comments, then a number on each line.

# Gravitational wave strain for GW150914 for H1 (see http://losc.ligo.org)
# This file has 4096 samples per second
# starting GPS 1126259446 duration 32
2.17704028e-19
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.quality_bits import times_excluded_by_bits
from data.recording import StrainRequest, check_rate, explain_wrong_detector
from data.strain_paths import calibration_of_name, detector_of_name
from data.time_segments import TimeSegments
from physics.sites import SITES
from runtime.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
MAX_HEADER_LINES, MAX_LINE = 50, 1000
MAX_SAMPLES = 2**28  # 4,096 s at 16 kHz are 2**26
RATE = re.compile(r"(\d+(?:\.\d+)?)\s+samples per second")
TIMES = re.compile(r"GPS\s+(\d+(?:\.\d+)?).*?duration\s+(\d+(?:\.\d+)?)", re.DOTALL)
DETECTOR = re.compile(r"\bfor ([A-Z]\d)\b")


class TextStrain:
    """Strain of a text file of GWOSC. It is read whole when a part of it is needed first.

    Args:
        path: the file, packed with gzip or not.
        request: what is wanted of it.

    Raises:
        UserError: it is damaged or has another header, is sampled too slowly, belongs to another
            detector, or data-quality bits are asked for, which text files do not have.
    """

    def __init__(self, path: Path, request: StrainRequest) -> None:
        self.path, self.name = path, str(path)
        header = read_header(path)
        self.header_lines = header.count("\n")
        rate, times = RATE.search(header), TIMES.search(header)
        if rate is None or times is None:
            raise UserError(
                f"{path} does not begin as a text file of GWOSC does ('# This file has 4096 "
                f"samples per second', '# starting GPS … duration …'): give HDF5, GWF or such text"
            )
        named = [name for name in DETECTOR.findall(header) if name in SITES]
        detector = named[-1] if named else detector_of_name(path)
        if detector is not None and detector != request.detector:
            raise UserError(explain_wrong_detector(self.name, detector, request))
        self.rate = check_rate(float(rate[1]), self.name, request.observation.sample_rate)
        self.start = float(times[1])
        self.size = round(float(times[2]) * self.rate)
        if not 0 < self.size <= MAX_SAMPLES:
            raise UserError(
                f"{path}: the header states {times[2]} s at {self.rate} Hz, {self.size:,} samples: "
                f"download it again"
            )
        self.calibration = calibration_of_name(path)
        self.excluded = times_excluded_by_bits((), request.data_quality, path)

    def read(self, first: int, last: int) -> np.ndarray:
        facts = os.stat(self.path)
        place = (str(self.path), self.header_lines, self.size)
        values = read_numbers(*place, facts.st_size, facts.st_mtime_ns)
        return values[first:last]

    def content_digest(self) -> str:
        facts = os.stat(self.path)
        place = (str(self.path), self.header_lines, self.size)
        return digest_of_text(*place, facts.st_size, facts.st_mtime_ns)

    def data_segments(self) -> TimeSegments:
        return [(self.start, self.start + self.size / self.rate)]

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return self.excluded


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a text file, packed with gzip or not."""
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    if packed:
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="ascii")
    return open(path, encoding="ascii")


def read_header(path: Path) -> str:
    """Return the comments that a text file begins with.

    Raises:
        UserError: it is no text, or is damaged.
    """
    lines = []
    try:
        with open_text(path) as file:
            while len(lines) < MAX_HEADER_LINES:
                line = file.readline(MAX_LINE)
                if not line.startswith("#"):
                    break
                lines.append(line)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): download it again") from error
    return "".join(lines)


@functools.lru_cache(maxsize=3)  # one for each of three detectors
def read_numbers(path: str, header_lines: int, size: int, *facts: int) -> np.ndarray:
    """Return all samples of a text file, (size,) float64.

    Args:
        path: the file.
        header_lines: to skip.
        size: how many its header states.
        facts: its size in bytes and when it changed, which tell whether it is still the same.

    Raises:
        UserError: a line is no number, or there are more or fewer.
    """
    try:
        with open_text(Path(path)) as file:
            # One row more than there should be, to notice it.
            values = np.loadtxt(file, np.float64, skiprows=header_lines, ndmin=1, max_rows=size + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged ({first}): download it again") from error
    if values.shape != (size,):
        raise UserError(explain_other_size(path, size, values.size))
    return values


@functools.cache
def digest_of_text(path: str, header_lines: int, size: int, *facts: int) -> str:
    """Return a digest of the text of a file, packed or not, whose lines are counted on the way.

    Args:
        path, header_lines, size, facts: as of `read_numbers`.

    Raises:
        UserError: the file is damaged, or has another number of lines than its header states.
    """
    content, lines, last = hashlib.blake2b(digest_size=16), -header_lines, b"\n"
    try:
        with open_text(Path(path)) as file:
            while block := file.buffer.read(2**22):
                content.update(block)
                lines, last = lines + block.count(b"\n"), block[-1:]
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): download it again") from error
    lines += last != b"\n"
    if lines != size:
        raise UserError(explain_other_size(path, size, lines))
    return content.hexdigest()


def explain_other_size(path: str, size: int, found: int) -> str:
    """Return a sentence for a file with another number of samples than its header states."""
    there = f"only {found:,}" if found < size else "more"
    return (
        f"{path} is damaged: its header states {size:,} samples and there are {there}; download it "
        f"again"
    )
