"""Segments of GPS time, as a config or a text file states them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError

TimeSegments = list[tuple[float, float]]  # (start, end), GPS in s


def read_numbers(name: str, what: str, columns: Sequence[int]) -> np.ndarray:
    """Return the rows of a text file, (rows, columns).

    Args:
        name: of the file.
        what: the argument that names it, for messages.
        columns: how many columns it may have.

    Raises:
        UserError: it is missing or holds something else.
    """
    path, wanted = Path(name).expanduser(), " or ".join(map(str, columns))
    try:
        text = path.read_text()
        lines = [line.split("#")[0].replace(",", " ").split() for line in text.splitlines()]
        rows = np.array([[float(word) for word in line] for line in lines if line], np.float64)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{what}: {path} cannot be read ({error}): expected lines of {wanted} numbers"
        ) from error
    if len(rows) and (rows.ndim != 2 or rows.shape[1] not in columns):
        raise UserError(f"{what}: {path}: expected lines of {wanted} numbers")
    return rows


def read_segments(value: Any, detector: str, what: str) -> TimeSegments:
    """Return the segments of one detector.

    Args:
        value: pairs of GPS times; the name of a text file with lines of start and end, or of
            number, start, end and duration as LIGO's segment files have them; or one of these for
            each detector by name. A detector that is not named has none.
        detector: whose segments.
        what: the argument that they are, for messages.

    Raises:
        UserError: they are something else, or a segment ends before it starts.
    """
    if isinstance(value, Mapping):
        value = value.get(detector, ())
    if isinstance(value, str):
        rows = read_numbers(value, what, (2, 4))
        pairs = rows if rows.size == 0 or rows.shape[1] == 2 else rows[:, 1:3]
    else:
        try:
            pairs = np.array([[float(time) for time in pair] for pair in value], np.float64)
        except (TypeError, ValueError):
            pairs = np.zeros((1, 1))
    if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2):
        raise UserError(
            f"{what} = {value!r}: expected pairs of GPS times [start, end], or a text file of them"
        )
    for start, end in pairs.reshape(-1, 2):
        if not start < end:
            raise UserError(f"{what}: the segment from {start:.3f} to {end:.3f} ends too early")
    return [(float(start), float(end)) for start, end in pairs.reshape(-1, 2)]


def read_times(value: Any, what: str) -> list[float]:
    """Return GPS times, given as numbers or as a text file with one a line.

    Raises:
        UserError: they are something else.
    """
    if isinstance(value, str):
        return read_numbers(value, what, (1,)).flatten().tolist()
    try:
        return [float(time) for time in value]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{what} = {value!r}: expected GPS times, or a text file with one a line"
        ) from error
