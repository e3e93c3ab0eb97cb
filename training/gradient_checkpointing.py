"""Gradient checkpointing: blocks of a network are computed again in the backward pass.

Only the inputs of blocks are kept until then, and not what lies inside of them: less memory for one
more forward pass (Chen et al. 2016, arXiv:1604.06174). The weights that are learnt stay the same
bit for bit on a CPU: random numbers are drawn again from the same state, and batch norms do not
count the rows of a block a second time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from runtime.errors import UserError


def checkpoint_blocks(model: nn.Module) -> int:
    """Let the blocks of a network be computed again in the backward pass; return how many.

    Args:
        model: its blocks are changed in place; names and values of its weights stay the same.

    Raises:
        UserError: it has no blocks.
    """
    blocks = find_blocks(model)
    if not blocks:
        raise UserError(
            f"gradient_checkpointing: {type(model).__name__} has no list of blocks to compute "
            f"again: --set gradient_checkpointing=false"
        )
    for block in blocks:
        block.forward = functools.partial(forward_again, block, block.forward)
    return len(blocks)


def find_blocks(module: nn.Module) -> list[nn.Module]:
    """Return the entries of lists of modules that have modules and weights of their own.

    Of lists within lists, as stages of blocks, the innermost count. A shortcut of two layers inside
    of a block is no such list, as its entries are single layers.
    """
    found: list[nn.Module] = []
    for child in module.children():
        inner = find_blocks(child)
        if inner:
            found += inner
        elif isinstance(module, nn.Sequential | nn.ModuleList) and is_block(child):
            found.append(child)
    return found


def is_block(module: nn.Module) -> bool:
    has_layers = next(module.children(), None) is not None
    return has_layers and next(module.parameters(), None) is not None


def forward_again(block: nn.Module, forward: Callable, *inputs: Any, **named: Any) -> Any:
    """Compute a block; in training without keeping what lies inside."""
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs, **named)
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), statistics_kept(block)),
        **named,
    )


@contextlib.contextmanager
def statistics_kept(block: nn.Module) -> Iterator[None]:
    """Put the running statistics of a block's batch norms back after it was computed again."""
    buffers = [
        buffer
        for module in block.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for buffer in module.buffers(recurse=False)
    ]
    kept: list[Tensor] = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, kept, strict=True):
                buffer.copy_(value)
