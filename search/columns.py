"""Columns that were read from a file of a search: all there, and of the right shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from runtime.errors import UserError


def check_columns(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], where: str, whose: str
) -> None:
    """Refuse columns of a damaged file.

    Args:
        arrays: columns by name; there may be others.
        shapes: of those that are needed.
        where: the file, for messages.
        whose: what the columns are of, for messages, e.g. 'triggers'.

    Raises:
        UserError: a column is missing, or has another shape.
    """
    # First of all: where the column that counts the rows is missing, no shape is as expected.
    for name in shapes:
        if name not in arrays:
            raise UserError(f"{where} is damaged: the column {name} of its {whose} is missing")
    for name, expected in shapes.items():
        if arrays[name].shape != expected:
            raise UserError(
                f"{where} is damaged: the column {name} of its {whose} has the shape "
                f"{arrays[name].shape}, expected {expected}"
            )
