"""Float32 products as such, whatever the switches for faster ones say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute float32 products and convolutions as such: no autocast, no TF32, no bfloat16."""
    try:
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        switches = []
    except RuntimeError:  # someone used torch's newer switches, one a backend, and only those work
        switches = [
            torch.backends.cuda.matmul,
            torch.backends.mkldnn.matmul,
            torch.backends.cudnn.conv,
        ]
        settings = [switch.fp32_precision for switch in switches]
    try:
        if switches:
            for switch in switches:
                switch.fp32_precision = "ieee"
        else:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        if switches:
            for switch, setting in zip(switches, settings, strict=True):
                switch.fp32_precision = setting
        else:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]
