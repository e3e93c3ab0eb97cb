"""Full float32 precision for the products that need it, whatever faster modes are switched on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


def precision_switches() -> list[Any]:
    """Return torch's precision switches, one for each backend and operation.

    They exist since torch 2.9 (https://docs.pytorch.org/docs/stable/notes/cuda.html, TF32); the
    list is empty for older versions.
    """
    backends = torch.backends
    if not hasattr(backends.mkldnn, "matmul"):
        return []
    return [
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    ]


@contextlib.contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute float32 products and convolutions in full: no autocast, no TF32, no bfloat16.

    Afterwards every switch is as it was found, also one that nobody had set yet: such a switch
    ("none") follows `torch.backends.fp32_precision`, which one that says "ieee" no longer does.

    Args:
        device_type: "cpu" or "cuda", the device whose autocast is switched off.
    """
    switches = precision_switches()
    found = [switch.fp32_precision for switch in switches]
    try:
        older = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:  # torch refuses the older switches once the newer ones contradict them
        older = None
    try:
        if older is not None:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        # The older switches write to the newer ones, so the newer ones are restored last.
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            torch.backends.cudnn.allow_tf32 = older[1]
        for switch, setting in zip(switches, found, strict=True):
            switch.fp32_precision = setting
