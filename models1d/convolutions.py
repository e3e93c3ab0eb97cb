"""Convolution in time with 'same' padding, and the initialisation that the networks share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SameConv1d(nn.Conv1d):
    """1-D convolution whose output has ceil(T / stride) columns, the odd padding on the right.

    A tap of a dilated kernel may fall on padding at every place of the kernel. Such taps are left
    out of the sum. That changes neither the result nor a gradient (theirs is zero) and saves time:
    with 16 taps 2048 columns apart, on 2048 columns, two of 16 remain.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C', ceil(T / stride))."""
        length = x.shape[-1]
        size, step, stride = self.kernel_size[0], self.dilation[0], self.stride[0]
        columns = -(-length // stride)
        total = max((columns - 1) * stride + (size - 1) * step + 1 - length, 0)
        left = total // 2
        right = total - left
        weight = self.weight
        # Tap j of the first output is at column j·step − left, and of the last output
        # (columns − 1)·stride further. Keep the taps that reach a column from 0 to T − 1.
        first = max(-(-(left - (columns - 1) * stride) // step), 0)
        last = min((left + length - 1) // step, size - 1)
        if (first, last) != (0, size - 1) and first <= last:
            weight = weight[..., first : last + 1]
            left -= first * step
            right -= (size - 1 - last) * step
        if left != right or left < 0:
            x = F.pad(x, (left, right))  # a negative padding cuts columns off
            left = 0
        return F.conv1d(x, weight, self.bias, stride, left, step, self.groups)


def reinitialise(module: nn.Module) -> None:
    """Initialise convolutions from Kaiming's normal distribution and batch norms as identities.

    Reference: He et al. 2015, arXiv:1502.01852, equation 10, by the number of inputs.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv1d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        elif isinstance(part, nn.BatchNorm1d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
