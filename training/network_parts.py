"""Front-end, backbone and head of a network, and how deep in the backbone each weight lies.

A network says itself what its parts are: `parts()` returns the modules of its front-end and of its
head. Of a network without that method the head is what `get_classifier()` returns, as in timm, or
else its last layer that has weights. Everything else is the backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from runtime.errors import UserError, nearest

PARTS = ("front_end", "backbone", "head")


def check_parts(owner: str, names: Iterable[str]) -> None:
    """Raise a UserError for a name that is no part of a network."""
    for name in names:
        if name not in PARTS:
            raise UserError(
                f"{owner}: a network has no part {name!r}{nearest(name, PARTS)}; there are "
                f"{', '.join(PARTS)}"
            )


def part_of_parameters(model: nn.Module) -> dict[str, str]:
    """Return the part of each parameter by the parameter's name, in the order of the network."""
    modules = find_parts(model)
    part_of = {
        id(parameter): part
        for part, owners in modules.items()
        for owner in owners
        for parameter in owner.parameters()
    }
    return {
        name: part_of.get(id(parameter), "backbone") for name, parameter in model.named_parameters()
    }


def find_parts(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Return the modules of the front-end and of the head."""
    if hasattr(model, "parts"):
        return dict(model.parts())
    if hasattr(model, "get_classifier"):
        return {"front_end": [], "head": [model.get_classifier()]}
    layers = [module for module in model.modules() if has_own_parameters(module)]
    return {"front_end": [], "head": layers[-1:]}


def modules_of_part(model: nn.Module, part: str) -> list[nn.Module]:
    """Return the layers of a part: modules with parameters or buffers of their own."""
    parts = find_parts(model)
    members = {
        name: {id(module) for owner in owners for module in owner.modules()}
        for name, owners in parts.items()
    }
    others = set().union(*members.values())
    return [
        module
        for module in model.modules()
        if (has_own_parameters(module) or next(module.buffers(recurse=False), None) is not None)
        and (id(module) in members[part] if part in members else id(module) not in others)
    ]


def has_own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def layer_of_parameters(model: nn.Module) -> dict[str, int]:
    """Return how deep each parameter lies: 0 for the front-end, then the backbone from 1, the head.

    A network of timm says itself what its layers are (`group_matcher`). Of others, each entry of a
    list of blocks is a layer, and so is each module outside of such lists, in their order.
    """
    parts = part_of_parameters(model)
    known = layers_of_timm(model)
    layers: dict[Any, int] = {}
    found = {}
    for name, part in parts.items():
        if part == "backbone":
            layer = known.get(name, block_of(name))
            found[name] = 1 + layers.setdefault(layer, len(layers))
    deepest = len(layers) + 1
    return {
        name: found.get(name, 0 if part == "front_end" else deepest) for name, part in parts.items()
    }


def layers_of_timm(model: nn.Module) -> dict[str, int]:
    """Return the number of the layer of each parameter of a timm network inside of a model."""
    for prefix, module in model.named_modules():
        if hasattr(module, "group_matcher"):
            from timm.models import group_parameters  # only here, as it is slow to import

            groups = group_parameters(module, module.group_matcher(coarse=False))
            start = f"{prefix}." if prefix else ""
            return {f"{start}{name}": n for n, names in groups.items() for name in names}
    return {}


def block_of(name: str) -> str:
    """Return the block that a parameter belongs to: its path up to the first position in a list."""
    *path, _ = name.split(".")
    for place, word in enumerate(path):
        if word.isdecimal():
            return ".".join(path[: place + 1])
    return ".".join(path)
