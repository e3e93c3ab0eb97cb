"""Whether images lie in memory with the channels of a pixel side by side (channels_last).

Convolutions are faster so. On a CPU torch's batch norm then sums all values of a channel one after
the other in float32: it is a hundred times less exact, the gradient of Nspec16 fifty times (6e-4
of it, and 1e-5 without), and both depend on the number of threads. Networks with a batch norm are
therefore left as they are on a CPU, where Nspec16's training takes a sixth longer on one thread
and a third on two.
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


def has_batch_norm(module: nn.Module) -> bool:
    """Whether some part is a batch norm of images, timm's own among them."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    return any(isinstance(part, kinds) for part in module.modules())


class MemoryFormat:
    """Puts a network and its images into channels_last, where that is wanted, safe and exact.

    Args:
        network: on any device; its weights are rearranged by `arrange_weights`.
        wanted: False leaves everything as it is.
    """

    def __init__(self, network: nn.Module, wanted: bool) -> None:
        self.wanted = wanted
        self.wanted_on_cpu = wanted and not (is_unsafe_on_cpu(network) or has_batch_norm(network))

    def on(self, device: torch.device) -> torch.memory_format:
        """Return the format of weights and images on a device."""
        wanted = self.wanted_on_cpu if device.type == "cpu" else self.wanted
        return torch.channels_last if wanted else torch.contiguous_format

    def arrange(self, image: Tensor) -> Tensor:
        """Return an image (B, C, F, T) in the format in which the network takes it."""
        return image.contiguous(memory_format=self.on(image.device))

    def arrange_weights(self, network: nn.Module) -> None:
        """Rearrange the weights for the device that they are on."""
        weight = next(network.parameters(), None)
        if weight is not None and weight.device.type != "meta":  # which has no numbers to arrange
            network.to(memory_format=self.on(weight.device))
