"""The optimisers that a config can name: those of torch, and those of timm that torch lacks."""

from __future__ import annotations

from typing import Any

import torch

NO_MUON = (
    "neither this timm nor this torch has Muon: upgrade with `pip install --upgrade timm`, or use "
    "AdamW"
)


def optimizer_classes() -> dict[str, type]:
    """Return the optimisers by class name; of two with one name that of torch counts.

    Muon is the exception: that of torch takes matrices alone, while timm's also orthogonalises the
    kernels of convolutions and steps biases and norms with AdamW. Where neither has it, it is left
    out.
    """
    import timm.optim  # only here, as it is slow to import

    of_timm, of_torch = classes_of(timm.optim), classes_of(torch.optim)
    # A wrapper, which a config asks for with `lookahead`; and the base of all.
    of_timm.pop("Lookahead", None)
    of_torch.pop("Optimizer", None)
    found = {**of_torch, **{name: cls for name, cls in of_timm.items() if name not in of_torch}}
    return {**found, "Muon": of_timm["Muon"]} if "Muon" in of_timm else found


def classes_of(module: Any) -> dict[str, type]:
    """Return the optimisers that a module holds, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
