"""Dropped, exchanged and subtracted detector channels."""

from __future__ import annotations

import pytest
import torch
from strain_batches import ALWAYS

import transforms as T
from runtime.errors import UserError


def test_channels():
    x = torch.randn(400, 3, 8)
    y = T.DropChannel((0, 2))(x)
    assert torch.equal(y[:, 1], x[:, 1])
    assert y[:, [0, 2]].abs().sum() == 0
    dropped = (T.DropChannel((0, 2), random=1)(x) == 0).all(-1)
    assert (dropped.sum(1) == 1).all()
    assert abs(dropped[:, 0].float().mean() - 0.5) < 0.12  # one sigma is 0.025
    assert torch.equal(T.SwapChannel(**ALWAYS)(x), x[:, [1, 0, 2]])
    expected = torch.stack([x[:, 1] - x[:, 0], x[:, 2] - x[:, 1], x[:, 0] - x[:, 2]], dim=1)
    assert torch.equal(T.GetDiff()(x), expected)
    for broken in (T.DropChannel((3,)), T.SwapChannel((0, 3), **ALWAYS), T.DropChannel((-1,))):
        with pytest.raises(UserError, match="not all among"):
            broken(x)
    with pytest.raises(UserError, match="two channels or more"):
        T.GetDiff()(x[:, :1])
    for make in (lambda: T.DropChannel((0,), 2), lambda: T.SwapChannel((0, 1, 2))):
        with pytest.raises(UserError):
            make()
