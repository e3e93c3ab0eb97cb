"""Random numbers that are the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MAKERS = (torch.rand, torch.randn, torch.randint, torch.randperm)
LIKE = (torch.rand_like, torch.randn_like)


class SameDraws(TorchFunctionMode):
    """Draw on the CPU and copy to the device, so that a part can be compared on two devices."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in MAKERS:
            device = kwargs.pop("device", None)
            drawn = function(*args, **kwargs)
            return drawn if device is None else drawn.to(device)
        if function in LIKE:
            (x,) = args
            return function(torch.empty(x.shape, dtype=x.dtype), **kwargs).to(x.device)
        if function is Tensor.uniform_:
            x, *bounds = args
            return x.copy_(torch.empty(x.shape, dtype=x.dtype).uniform_(*bounds, **kwargs))
        if function is torch._standard_gamma:
            return function(args[0].cpu()).to(args[0].device)
        return function(*args, **kwargs)
