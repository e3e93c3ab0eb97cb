"""GWF frame files, read with lalframe of LALSuite in a process of its own.

The C library crashes the whole process on some damaged files; such a crash becomes a `UserError`
here. It also unpacks a whole frame, of up to 4,096 s, for whatever is asked of a channel: the
process keeps the last frame of each channel, so that strain that is read piece by piece is unpacked
once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtime.errors import UserError

EXTRA = "gwosc"  # of pyproject.toml


@functools.cache
def reading_process() -> concurrent.futures.ProcessPoolExecutor:
    """Return the process that reads frame files; it is started for the first of them."""
    return concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    )


def call_in(folder: str, function: Callable, *arguments: Any) -> Any:
    """Call a function in another working directory, which stays the one of this process."""
    os.chdir(folder)
    return function(*arguments)


def call_in_reading_process(function: Callable, path: Path, *arguments: Any) -> Any:
    """Call a function of this file on a frame file in the reading process.

    Raises:
        UserError: the file cannot be read, or the reading process crashed on it.
    """
    try:
        # Relative paths begin in this process's folder, which may have changed since the other
        # process was started.
        return (
            reading_process().submit(call_in, os.getcwd(), function, str(path), *arguments).result()
        )
    except BrokenProcessPool as error:
        reading_process.cache_clear()  # the next file gets a new one
        raise UserError(
            f"{path} is damaged: the frame library crashed on it; download it again"
        ) from error


# --- in the reading process ------------------------------------------------------------------

KINDS = ("Adc", "Proc", "Sim")  # of channels: raw, calibrated, simulated
MOST_KEPT = 4  # channels whose last frame is kept
FLOATS = ("REAL4", "REAL8")  # lalframe's names of types
WHOLE_NUMBERS = ("INT2", "INT4", "INT8", "UINT2", "UINT4", "UINT8")


@dataclass(frozen=True)
class Frame:
    """A frame of a file, as its table of contents has it: number, GPS start and duration in s."""

    number: int
    start: float
    duration: float


@dataclass(frozen=True)
class FrameFile:
    """What the table of contents of a frame file says.

    Attributes:
        channels: all names, sorted.
        frames: in order of time.
    """

    channels: tuple[str, ...]
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class FrameSeries:
    """The samples of a channel in one frame.

    Attributes:
        values: (samples,), of the channel's own type.
        start: GPS time of the first, s.
        spacing: s.
        unit: as the file has it.
    """

    values: np.ndarray
    start: float
    spacing: float
    unit: str


def raises_user_errors(function: Callable) -> Callable:
    """Decorate a reader of frame files: what LALSuite raises becomes a `UserError`."""

    @functools.wraps(function)
    def call(path: str, *arguments: Any) -> Any:
        try:
            return function(path, *arguments)
        except ImportError as error:
            raise UserError(
                f"{path}: there is no reader of frame files ({error}): install one with "
                f"`pip install -e '.[{EXTRA}]'`, or use the HDF5 file"
            ) from None
        except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{path} cannot be read as a frame file ({first}): download it again"
            ) from None

    return call


@raises_user_errors
def read_contents(path: str) -> FrameFile:
    """Return the table of contents of a frame file, for which no frame is unpacked."""
    _, lalframe = quiet_lalframe()
    file = lalframe.FrameUFrFileOpen(path, "r")  # has to live as long as its table
    table = lalframe.FrameUFrTOCRead(file)
    channels = [
        getattr(lalframe, f"FrameUFrTOCQuery{kind}Name")(table, number)
        for kind in KINDS
        for number in range(getattr(lalframe, f"FrameUFrTOCQuery{kind}N")(table))
    ]
    frames = []
    for number in range(lalframe.FrameUFrTOCQueryNFrame(table)):
        fraction, whole = lalframe.FrameUFrTOCQueryGTimeModf(table, number)
        duration = float(lalframe.FrameUFrTOCQueryDt(table, number))
        frames.append(Frame(number, float(whole) + float(fraction), duration))
    del table, file
    return FrameFile(tuple(sorted(channels)), tuple(sorted(frames, key=lambda frame: frame.start)))


@raises_user_errors
def read_bits(path: str, channel: str, numbers: Sequence[int]) -> list[FrameSeries]:
    """Return a channel of whole numbers in frames of a file; frames without it are left out."""
    found = (unpack_frame(path, channel, number, WHOLE_NUMBERS) for number in numbers)
    return [series for series in found if series is not None]


@raises_user_errors
def read_rate(path: str, channel: str, number: int) -> float:
    """Return the sampling rate of a channel of strain in Hz, as one of its frames has it."""
    series = kept_frame(path, channel, number)
    if series is None:
        raise ValueError(f"{channel} is not in its first frame")
    return 1 / series.spacing


@raises_user_errors
def read_frames(
    path: str, channel: str, frames: Sequence[Frame], start: float, rate: int, count: int
) -> np.ndarray:
    """Return strain from a GPS time on, (count,) float64, NaN where no frame has the channel.

    Args:
        path: the frame file.
        channel: of strain.
        frames: that hold a part of it.
        start: GPS time of the first sample, s.
        rate: Hz.
        count: samples.

    Raises:
        UserError: a frame is damaged, or sampled at another rate.
    """
    values = np.full(count, np.nan)
    for frame in frames:
        series = kept_frame(path, channel, frame.number)
        if series is None:
            continue
        if abs(series.spacing * rate - 1) > 1e-8:
            raise UserError(
                f"{path}: {channel} is sampled at {1 / series.spacing:g} Hz from GPS "
                f"{series.start:.0f} on and the strain before it at {rate} Hz: give files of one "
                f"rate"
            )
        first = round((start - series.start) * rate)  # within the frame; may be negative
        low, high = max(first, 0), min(first + count, len(series.values))
        if low < high:
            values[low - first : high - first] = series.values[low:high]
    return values


LAST_FRAMES: OrderedDict[str, tuple[tuple, FrameSeries | None]] = OrderedDict()


def kept_frame(path: str, channel: str, number: int) -> FrameSeries | None:
    """Return a channel of strain in a frame; the last frame of each channel is kept unpacked."""
    facts = os.stat(path)
    key = (path, facts.st_size, facts.st_mtime_ns, number)
    if channel in LAST_FRAMES and LAST_FRAMES[channel][0] == key:
        LAST_FRAMES.move_to_end(channel)
        return LAST_FRAMES[channel][1]
    LAST_FRAMES.pop(channel, None)  # makes room before the next is unpacked
    series = unpack_frame(path, channel, number, FLOATS)
    LAST_FRAMES[channel] = (key, series)
    while len(LAST_FRAMES) > MOST_KEPT:
        LAST_FRAMES.popitem(last=False)
    return series


TYPES: dict[str, str] = {}  # of channels, as met last


def unpack_frame(path: str, channel: str, number: int, types: Sequence[str]) -> FrameSeries | None:
    """Return a channel in a frame, None where the frame does not have it.

    Args:
        path: the frame file.
        channel: its name.
        number: of the frame.
        types: lalframe's names of the types that it may have.

    Raises:
        UserError: it has another type.
    """
    lal, lalframe = quiet_lalframe()
    file = lalframe.FrFileOpenURL(path)
    series = None
    if channel in TYPES:  # asking for the type unpacks the frame once more
        with contextlib.suppress(RuntimeError):
            read = getattr(lalframe, f"FrFileRead{TYPES[channel]}TimeSeries")
            series = read(file, channel, number)
    if series is None:
        try:
            code = lalframe.FrFileQueryChanType(file, channel, number)
        except RuntimeError as error:
            if str(error).lower() == "wrong name":
                return None
            raise
        names = {getattr(lal, f"{short}_TYPE_CODE"): name for short, name in CODES.items()}
        if names.get(code) not in types:
            wanted = "floating-point" if types == FLOATS else "whole"
            raise UserError(f"{path}: {channel} does not hold {wanted} numbers: name another")
        TYPES[channel] = names[code]
        series = getattr(lalframe, f"FrFileRead{names[code]}TimeSeries")(file, channel, number)
    unit = ""
    if types == WHOLE_NUMBERS:  # GWOSC names the bits there, which is no unit that LAL knows
        vector = lalframe.FrameUFrChanRead(
            unit_file := lalframe.FrameUFrFileOpen(path, "r"), channel, number
        )
        unit = str(lalframe.FrameUFrChanVectorQueryUnitY(vector) or "")
        del vector, unit_file
    # A copy: LAL frees its own memory together with the series.
    return FrameSeries(np.array(series.data.data), float(series.epoch), float(series.deltaT), unit)


CODES = {
    "S": "REAL4",
    "D": "REAL8",
    "I2": "INT2",
    "I4": "INT4",
    "I8": "INT8",
    "U2": "UINT2",
    "U4": "UINT4",
    "U8": "UINT8",
}  # by lal's names of the type codes


@functools.cache
def quiet_lalframe() -> tuple[ModuleType, ModuleType]:
    """Return lal and lalframe; their reports of errors, which are raised as well, are not printed.

    Raises:
        ImportError: they are not installed.
    """
    import lal
    import lalframe

    lal.ClobberDebugLevel(0)
    return lal, lalframe
