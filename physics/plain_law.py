"""What the laws of a population share: they are frozen dataclasses that can be written to JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from configuration.json_types import to_plain
from runtime.errors import UserError


class PlainLaw:
    """A law with arguments; its children are frozen dataclasses."""

    def to_plain(self) -> dict[str, Any]:
        """Return the law's name and all of its arguments in JSON's own types."""
        values = {field.name: to_plain(getattr(self, field.name)) for field in fields(self)}
        return {"class": type(self).__name__, **values}


def rising_pair(
    law: object, name: str, bounds: Sequence[float], most: float = float("inf")
) -> tuple[float, float]:
    """Return two bounds as floats.

    Args:
        law: whose argument they are.
        name: of the argument.
        bounds: two numbers, 0 < low <= high.
        most: that the upper one may be.

    Raises:
        UserError: they are something else.
    """
    numbers = not isinstance(bounds, str) and all(isinstance(x, int | float) for x in bounds)
    if not numbers or len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= most:
        limit = "" if most == float("inf") else f" of at most {most:g}"
        raise UserError(
            f"{type(law).__name__}: {name} = {bounds}: expected two rising positive numbers{limit}"
        )
    return float(bounds[0]), float(bounds[1])
