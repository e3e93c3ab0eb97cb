"""How a number in the units of a table becomes an output of a network, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from runtime.errors import UserError

Values = TypeVar("Values", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Quantity:
    """A named number; a network puts out (value - center) / scale, or that of its logarithm.

    Attributes:
        name: of the column.
        log: whether the network learns the logarithm.
        center, scale: of the value, or with `log` of its natural logarithm.

    Raises:
        UserError: a scale that is not positive, or a number that is not finite.
    """

    name: str
    log: bool = False
    center: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and math.isfinite(self.scale) and self.scale > 0):
            raise UserError(
                f"{self.name}: center = {self.center!r} and scale = {self.scale!r}: expected "
                f"numbers, the scale above 0"
            )

    def encode(self, values: Values) -> Values:
        """Return what the network learns of values; of NaN, NaN."""
        if self.log:
            values = values.log() if isinstance(values, torch.Tensor) else np.log(values)
        return (values - self.center) / self.scale

    def decode(self, outputs: Values) -> Values:
        """Return the values of outputs, in the units of the table."""
        values = outputs * self.scale + self.center
        if not self.log:
            return values
        return values.exp() if isinstance(values, torch.Tensor) else np.exp(values)
