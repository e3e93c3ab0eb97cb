"""Activations by name, so that a config can write 'silu' instead of a class."""

from __future__ import annotations

from torch import nn

from runtime.errors import check_choice

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "leaky_relu": nn.LeakyReLU,
}


def make_activation(activation: str | type[nn.Module], owner: str = "activation") -> nn.Module:
    """Return a new activation module for one of `ACTIVATIONS` or a module class."""
    if isinstance(activation, type):
        return activation()
    check_choice(owner, "activation", activation, list(ACTIVATIONS))
    return ACTIVATIONS[activation]()
