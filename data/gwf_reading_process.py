"""Strain of GWF frame files, read with gwpy.

The C libraries that gwpy uses crash the whole process on some damaged files. The files are
therefore read in a process of their own, and a crash becomes a `UserError` here.
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
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


def call_in_reading_process(function: Callable, path: Path, *arguments: Any) -> Any:
    """Call a function of this file on a frame file in the reading process.

    Raises:
        UserError: the file cannot be read, or the reading process crashed on it.
    """
    try:
        return reading_process().submit(function, str(path), *arguments).result()
    except BrokenProcessPool as error:
        reading_process.cache_clear()  # the next file gets a new one
        raise UserError(
            f"{path} is damaged: the frame library crashed on it; download it again"
        ) from error


# --- in the reading process ------------------------------------------------------------------


def raises_user_errors(function: Callable) -> Callable:
    """Decorate a reader of frame files: what gwpy and its libraries raise becomes a `UserError`."""

    @functools.wraps(function)
    def call(path: str, *arguments: Any) -> Any:
        try:
            return function(path, *arguments)
        except ImportError as error:
            raise UserError(
                f"{path}: gwpy has no reader of frame files ({error}): install one with "
                f"`pip install -e '.[{EXTRA}]'`, or use the HDF5 file"
            ) from None
        except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{path} cannot be read as a frame file ({first}): download it again"
            ) from None

    return call


@raises_user_errors
def describe_frames(
    path: str, detector: str, channel: str | None
) -> tuple[str, float, float, float]:
    """Return the channel, its sampling rate in Hz, and its GPS start and end in s.

    Args:
        path: the frame file.
        detector: whose strain is wanted.
        channel: its channel; None takes the only one of the detector with "STRAIN" in its name.

    Raises:
        UserError: there is no such channel of this detector or several, or it has gaps.
    """
    from gwpy.io.gwf import data_segments, get_channel_names
    from gwpy.timeseries import TimeSeries

    names = sorted(get_channel_names(path))
    own = [name for name in names if name.upper().startswith(f"{detector}:")]
    if not own:
        raise UserError(
            f"{path} has no strain channels of {detector}, only {', '.join(names[:6]) or 'none'}: "
            f"give a file of {detector}"
        )
    strain = [name for name in own if "STRAIN" in name.upper()]
    if channel is None and len(strain) != 1:
        raise UserError(
            f"{path} has {len(strain) or 'no'} strain channels of {detector}: name one with "
            f"--channel {detector}=NAME out of {', '.join(own[:6])}"
        )
    if channel is not None and channel not in own:
        raise UserError(f"{path} has no channel {channel!r}: choose from {', '.join(own[:6])}")
    channel = channel or strain[0]
    segments = data_segments([path], channel)
    if len(segments) != 1:
        raise UserError(
            f"{path} holds {len(segments)} pieces of {channel}, expected one without gaps: give a "
            f"file for each"
        )
    start, end = (float(edge) for edge in segments[0])
    first = TimeSeries.read(path, channel, start=start, end=min(start + 1, end), format="gwf")
    return channel, float(first.sample_rate.value), start, end


@raises_user_errors
def read_frames(path: str, channel: str, start: float, end: float) -> tuple[float, np.ndarray]:
    """Return strain between two GPS times: the first sample's time and (samples,) float64."""
    from gwpy.timeseries import TimeSeries

    part = TimeSeries.read(path, channel, start=start, end=end, format="gwf")
    return float(part.t0.value), np.asarray(part.value, np.float64)
