"""Times that noise is taken from or kept away from, as a setting or a file states them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.data_quality import read_segments
from data.time_segments import TimeSegments, merge_segments
from runtime.errors import UserError


def segments_of_setting(value: Any, detector: str, what: str) -> TimeSegments:
    """Return the segments of one detector, sorted and merged.

    Args:
        value: pairs of GPS times; the name of a file of them (see `read_segments`); or one of
            these for each detector by name. A detector that is not named has none.
        detector: whose segments.
        what: the argument that they are, for messages.

    Raises:
        UserError: they are something else, or a segment ends before it starts.
    """
    if isinstance(value, Mapping):
        value = value.get(detector, ())
    if isinstance(value, str):
        try:
            return read_segments(Path(value).expanduser(), detector)
        except UserError as error:
            raise UserError(f"{what}: {error}") from error
    try:
        pairs = [(float(start), float(end)) for start, end in value]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{what} = {value!r}: expected pairs of GPS times [start, end], or a file of them"
        ) from error
    for start, end in pairs:
        if not start < end:
            raise UserError(f"{what}: the segment from {start:.3f} to {end:.3f} ends too early")
    return merge_segments(pairs)


def times_of_setting(value: Any, what: str) -> list[float]:
    """Return GPS times, given as numbers or as a text file with one a line.

    Raises:
        UserError: they are something else.
    """
    if isinstance(value, str):
        path = Path(value).expanduser()
        try:
            lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
            return [float(line) for line in lines if line]
        except (OSError, ValueError) as error:
            raise UserError(
                f"{what}: {path} cannot be read ({error}): expected a GPS time on each line"
            ) from error
    try:
        return [float(time) for time in value]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{what} = {value!r}: expected GPS times, or a text file with one a line"
        ) from error
