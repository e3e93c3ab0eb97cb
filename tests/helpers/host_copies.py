"""Finds what makes the host wait for a GPU in every step, on a machine that has none.

A list as an index and `torch.tensor` copy from the host to the device; a mask as an index, `item`,
`tolist`, `unique` and `nonzero` read the device's answer. torch.cuda.set_sync_debug_mode finds the
same on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

READERS = ("item", "tolist", "unique", "nonzero", "masked_select", "cpu", "numpy")


class RefuseHostCopies(TorchFunctionMode):
    """Raise AssertionError at a call that a CUDA device would have to wait for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if function in (torch.tensor, torch.as_tensor) or name in READERS:
            raise AssertionError(f"{name} copies between host and device")
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            for index in args[1] if isinstance(args[1], tuple) else (args[1],):
                mask = isinstance(index, Tensor) and index.dtype == torch.bool
                assert not isinstance(index, list), f"{index} is copied to the device"
                assert not mask, "the host must wait for the number of rows in a mask"
        return function(*args, **(kwargs or {}))
