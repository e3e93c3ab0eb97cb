"""Whether images lie in memory with the channels of a pixel side by side (channels_last).

Convolutions are faster so, on a CPU by a sixth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# oneDNN's gradient of a 1x1 convolution with a stride writes beyond its memory where it has fewer
# input channels than a vector register of AVX-512 has floats: SIGSEGV, or 'corrupted size vs.
# prev_size', without any word of torch (oneDNN issue 6035; seen with torch 2.14 for widths from 2
# to 15 channels, never from 16 on, nor without a stride, nor in groups).
UNSAFE_CHANNELS = 16


def is_unsafe_on_cpu(module: nn.Module) -> bool:
    """Whether the gradient of some convolution can crash the process on a CPU."""
    return any(
        isinstance(part, nn.Conv2d)
        and part.kernel_size == (1, 1)
        and max(part.stride) > 1
        and part.groups == 1
        and part.in_channels < UNSAFE_CHANNELS
        for part in module.modules()
    )


class MemoryFormat:
    """Puts a network and its images into channels_last, where that is wanted and safe.

    Args:
        network: its weights are rearranged at once, or left alone if it is unsafe on a CPU: a
            network is built on a CPU, wherever it goes afterwards.
        wanted: False leaves everything as it is.
    """

    def __init__(self, network: nn.Module, wanted: bool) -> None:
        self.wanted, self.unsafe_on_cpu = wanted, wanted and is_unsafe_on_cpu(network)
        if wanted and not self.unsafe_on_cpu:
            network.to(memory_format=torch.channels_last)

    def arrange(self, image: Tensor) -> Tensor:
        """Return an image (B, C, F, T) in the format in which the network takes it."""
        if not self.wanted or (self.unsafe_on_cpu and image.device.type == "cpu"):
            return image.contiguous()
        return image.contiguous(memory_format=torch.channels_last)
