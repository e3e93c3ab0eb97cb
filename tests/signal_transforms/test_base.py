"""Chains of transforms: `Compose` and `OneOf`."""

from __future__ import annotations

import pytest
import torch
from every_transform import WAVEFORM_TRANSFORMS
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


@pytest.mark.parametrize("name", WAVEFORM_TRANSFORMS)
def test_odd_transforms_turn_the_sign_bit_for_bit(name):
    transform = WAVEFORM_TRANSFORMS[name](**ALWAYS)
    if transform.is_odd:
        x = torch.randn(2, 3, 512)
        assert torch.equal(transform(-x), -transform(x))


def test_what_is_odd():
    assert T.Compose([T.Normalize(), T.BandPass(), T.Whiten()]).is_odd
    assert T.FlipWave(p=0.0).is_odd  # it does nothing
    assert not T.Scale(2.0, always_apply=False).is_odd  # it draws
    assert not T.Normalize2().is_odd
    assert not T.Compose([T.Normalize(), T.AddGlitches(p=1.0)]).is_odd

    class Louder(T.Scale):
        def transform_rows(self, x):
            return x.abs()

    assert not Louder(2.0).is_odd
