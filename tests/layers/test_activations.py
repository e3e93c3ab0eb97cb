"""Activations by name and by class."""

from __future__ import annotations

import pytest
from torch import nn

from layers.activations import make_activation
from runtime.errors import UserError


def test_make_activation() -> None:
    assert isinstance(make_activation("silu"), nn.SiLU)
    assert isinstance(make_activation(nn.Tanh), nn.Tanh)
    with pytest.raises(UserError, match="did you mean 'relu'"):
        make_activation("relu6")
