"""Stochastic depth: which rows are dropped, and the mean that stays."""

from __future__ import annotations

import pytest
import torch

from layers.stochastic_depth import DropPath
from runtime.errors import UserError


def test_drop_path_drops_rows_and_keeps_the_mean() -> None:
    x = torch.ones(4000, 2, 3)
    layer = DropPath(0.25)
    y = layer(x)
    dropped = (y == 0).all((1, 2))
    assert torch.equal(dropped, (y == 0).any(2).any(1))  # whole rows
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.035)  # 5 sigma
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)
    assert torch.equal(layer.eval()(x), x)
    with pytest.raises(UserError, match="drop_path"):
        DropPath(1.0)
