"""Strain of GWF frame files, through gwpy.

The C libraries below gwpy end the whole process on some damaged files. So the reading is done by a
process of its own, whose death is one sentence here.
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
def reader() -> concurrent.futures.ProcessPoolExecutor:
    """Return the process that reads frame files; it starts with the first of them."""
    return concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    )


def apart(function: Callable, path: Path, *arguments: Any) -> Any:
    """Call a function of this file on a frame file in the reading process.

    Raises:
        UserError: it cannot be read, or the reader died of it.
    """
    try:
        return reader().submit(function, str(path), *arguments).result()
    except BrokenProcessPool as error:
        reader.cache_clear()
        raise UserError(
            f"{path} is damaged: the frame library crashed on it; download it again"
        ) from error


# --- in the reading process ------------------------------------------------------------------


def sentence(function: Callable) -> Callable:
    """Turn whatever gwpy and the libraries below it raise into a `UserError`."""

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


@sentence
def describe_frames(
    path: str, detector: str, channel: str | None
) -> tuple[str, float, float, float]:
    """Return channel, sampling rate in Hz, and GPS start and end in s."""
    from gwpy.io.gwf import data_segments, get_channel_names
    from gwpy.timeseries import TimeSeries

    names = sorted(get_channel_names(path))
    own = [name for name in names if name.startswith(f"{detector}:") and "STRAIN" in name.upper()]
    if channel is None and len(own) != 1:
        raise UserError(
            f"{path} has {len(own) or 'no'} strain channels of {detector}: name one with "
            f"--channel {detector}=NAME out of {', '.join(names[:6]) or 'none'}"
        )
    if channel is not None and channel not in names:
        raise UserError(
            f"{path} has no channel {channel!r}: choose from {', '.join(names[:6]) or 'none'}"
        )
    channel = channel or own[0]
    segments = data_segments([path], channel)
    if len(segments) != 1:
        raise UserError(
            f"{path} holds {len(segments)} pieces of {channel}, expected one without gaps: give a "
            f"file for each"
        )
    start, end = (float(edge) for edge in segments[0])
    first = TimeSeries.read(path, channel, start=start, end=min(start + 1, end), format="gwf")
    return channel, float(first.sample_rate.value), start, end


@sentence
def read_frames(path: str, channel: str, start: float, end: float) -> tuple[float, np.ndarray]:
    """Return strain between two GPS times: the first sample's time and (samples,) float64."""
    from gwpy.timeseries import TimeSeries

    part = TimeSeries.read(path, channel, start=start, end=end, format="gwf")
    return float(part.t0.value), np.asarray(part.value, np.float64)
