"""Chains of transforms: `Compose` and `OneOf`."""

from __future__ import annotations

import pytest
import torch
from strain_batches import ALWAYS

import transforms as T
from runtime.errors import UserError


def test_one_of_draws_for_each_row():
    x = torch.ones(900, 3, 4)
    y = T.OneOf([T.Scale(2.0), T.Scale(3.0), T.FlipWave(p=0.0)])(x)[:, 0, 0]
    for value in (1, 2, 3):
        assert abs((y == value).float().mean() - 1 / 3) < 0.08  # one sigma is 0.016
    with pytest.raises(UserError, match="at least one"):
        T.OneOf([])


def test_compose():
    flip = T.FlipWave(**ALWAYS)
    x = torch.randn(2, 3, 16)
    assert torch.equal(T.Compose(None)(x), x)
    assert torch.equal(T.Compose(flip)(x), -x)
    both = T.Compose([flip, T.Normalize((2.0, 2.0, 2.0))])
    assert torch.equal(both(x), -x / 2)
    assert len(both) == 2
    assert next(iter(both)) is flip
    assert not both.state_dict()
