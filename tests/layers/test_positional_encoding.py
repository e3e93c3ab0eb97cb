"""Sinusoidal tables and where they are added."""

from __future__ import annotations

import math

import pytest
import torch

from layers.positional_encoding import PositionalEncoding2d, sinusoidal_table
from runtime.errors import UserError


@pytest.mark.parametrize("columns", [6, 7])
def test_sinusoidal_table(columns: int) -> None:
    table = sinusoidal_table(5, columns)
    for position in range(5):
        for dimension in range(columns):
            angle = position / 10000 ** (2 * (dimension // 2) / columns)
            expected = math.sin(angle) if dimension % 2 == 0 else math.cos(angle)
            assert table[position, dimension].item() == pytest.approx(expected, abs=1e-6)


def test_positional_encoding() -> None:
    x = torch.randn(2, 3, 4, 6)
    added = PositionalEncoding2d((4, 6))(x)
    torch.testing.assert_close(added - x, sinusoidal_table(4, 6).expand(2, 3, 4, 6))
    joined = PositionalEncoding2d((8, 6), mode="cat")(x)
    assert joined.shape == (2, 4, 4, 6)
    torch.testing.assert_close(joined[:, :3], x)
    torch.testing.assert_close(joined[1, 3], sinusoidal_table(8, 6)[:4])
    assert not PositionalEncoding2d((4, 6)).state_dict()
    with pytest.raises(UserError, match="larger than the table"):
        PositionalEncoding2d((3, 6))(x)
    with pytest.raises(UserError, match="mode"):
        PositionalEncoding2d((3, 6), mode="mul")
