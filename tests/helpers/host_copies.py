"""Finds what makes the host wait for a GPU in every step, on a machine that has none.

A list as an index and `torch.tensor` copy from the host to the device; a mask as an index, `item`,
`tolist`, `unique` and `nonzero` read the device's answer. torch.cuda.set_sync_debug_mode finds the
same on a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READERS = ("item", "tolist", "unique", "nonzero", "masked_select", "cpu")
# What the readers, `bool`, `float` and `int` of a tensor, and indexing by a mask come to; also
# where C++ or a library calls them. A mask as an index is in `index` itself.
OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")


class RefuseHostCopies(TorchFunctionMode):
    """Raise AssertionError at a call that a CUDA device would have to wait for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if function in (torch.tensor, torch.as_tensor, Tensor.new_tensor) or name in READERS:
            raise AssertionError(f"{name} copies between host and device")
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            for index in args[1] if isinstance(args[1], tuple) else (args[1],):
                mask = isinstance(index, Tensor) and index.dtype == torch.bool
                assert not isinstance(index, list), f"{index} is copied to the device"
                assert not mask, "the host must wait for the number of rows in a mask"
        return function(*args, **(kwargs or {}))


class RefuseHostReads(TorchDispatchMode):
    """The same for operations, however they are called, those of the backward pass included."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        assert name not in OPERATIONS, f"aten::{name} makes the host wait"
        if name in ("index", "index_put", "index_put_"):
            masks = [i for i in args[1] if isinstance(i, Tensor) and i.dtype == torch.bool]
            assert not masks, f"aten::{name} by a mask makes the host wait"
        return operation(*args, **(kwargs or {}))


@contextlib.contextmanager
def refuse_host_waits() -> Iterator[None]:
    """Raise AssertionError at a call or an operation that a CUDA device would have to wait for."""
    with RefuseHostReads(), RefuseHostCopies():
        yield


@contextlib.contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Let torch raise an error where the host waits for the GPU; a CPU has nothing to wait for."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize(device)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
