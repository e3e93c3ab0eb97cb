"""Batch norm over the rows of all processes, so that their number does not change the network."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from training.process_groups import keep_for_good


class Total(torch.autograd.Function):
    """Sum a tensor over all processes; its gradient is summed in the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def batch_norm(
    group: dist.ProcessGroup,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`functional.batch_norm` with, in training, the statistics of all rows of a group.

    The processes may hold different numbers of rows. On a GPU torch's own kernel computes it.

    Args:
        group: the processes.
        input: (rows, channel, ...); the other arguments are those of `functional.batch_norm`.

    Raises:
        ValueError: there is only one value for each channel in all processes together.
    """
    if not training:
        return functional.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    if input.is_cuda:
        from torch.nn.modules._functions import SyncBatchNorm

        return SyncBatchNorm.apply(
            input,
            weight,
            bias,
            running_mean,
            running_var,
            eps,
            momentum,
            group,
            dist.get_world_size(group),
        )
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    axes = [0, *range(2, x.ndim)]
    shape = (1, -1, *[1] * (x.ndim - 2))  # of one value a channel
    count = x.new_tensor([x.numel() // x.shape[1]])
    *sums, count = Total.apply(torch.cat([x.sum(axes), count]), group).split([x.shape[1], 1])
    count = count.detach()
    if count < 2:
        raise ValueError(f"batch norm needs more than one value a channel, of {tuple(x.shape)}")
    mean = sums[0] / count  # (channel,)
    centred = x - mean.view(shape)
    # Of centred values, in a second pass: E[x^2] - E[x]^2 would cancel where the mean is large.
    variance = Total.apply(centred.square().sum(axes), group) / count  # (channel,)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = variance * count / (count - 1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    normed = centred * scale.view(shape)
    return (normed if bias is None else normed + bias.view(shape)).to(input.dtype)


class Shared(TorchFunctionMode):
    """Puts `batch_norm` in the place of `functional.batch_norm`."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is functional.batch_norm:
            return batch_norm(own_group(), *args, **kwargs or {})
        return func(*args, **kwargs or {})


@functools.cache
def own_group() -> dist.ProcessGroup:
    """Return all processes as a group. All must call it at once.

    On CPUs it is a group of its own, as collectives of the gradients may run at the same time. NCCL
    wants one group for everything that runs at once; torch's SyncBatchNorm does the same.
    """
    return dist.group.WORLD if dist.get_backend() == "nccl" else keep_for_good(dist.new_group())


def forward_shared(module: nn.Module, forward: Callable, *inputs: Any) -> Any:
    # Not in evaluation, where processes may have different numbers of batches and would wait for
    # each other for ever; a batch norm without running statistics uses its own rows there.
    with Shared() if module.training else contextlib.nullcontext():
        return forward(*inputs)


def share_statistics(model: nn.Module) -> None:
    """Let every batch norm of a network, whatever its class, use the rows of all processes.

    The rest of its forward pass, such as the activation in timm's, stays the same, and so do the
    names and values in its state dict.

    Args:
        model: its batch norms are changed in place.
    """
    own_group()
    forward = torch.compiler.disable(forward_shared)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(forward, module, module.forward)
