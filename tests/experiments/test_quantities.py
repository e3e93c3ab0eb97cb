"""Numbers as outputs of a network: there and back, in numpy and torch, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.quantities import Quantity
from runtime.errors import UserError


@pytest.mark.parametrize("log", [False, True])
def test_values_come_back(log: bool) -> None:
    quantity = Quantity("mass", log, center=2.0, scale=0.5)
    values = np.array([0.1, 3.0, 50.0, np.nan])
    expected = ((np.log(values) if log else values) - 2) / 0.5
    np.testing.assert_allclose(quantity.encode(values), expected)
    np.testing.assert_allclose(quantity.decode(expected), values)
    tensor = torch.tensor(values)
    np.testing.assert_allclose(quantity.encode(tensor).numpy(), expected)
    np.testing.assert_allclose(quantity.decode(quantity.encode(tensor)).numpy(), values)


@pytest.mark.parametrize("numbers", [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_a_scale_that_is_none_is_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="mass: center"):
        Quantity("mass", False, *numbers)
