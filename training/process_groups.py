"""Process groups that outlive their last exchange."""

from __future__ import annotations

import ctypes

import torch.distributed as dist


def keep_for_good(group: dist.ProcessGroup) -> dist.ProcessGroup:
    """Return a group, which is not destructed before the process ends if it is one of gloo.

    The destructor of a gloo group waits for the group's threads while it holds Python's global
    lock. A thread needs that lock to free the tensors of the last exchange, if it is the last to
    let go of them: then both wait for ever, after all work is done (seen with torch 2.6).
    """
    if dist.get_backend(group) == "gloo":
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))  # never given back
    return group
