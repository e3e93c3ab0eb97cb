"""Attention gates: a feature map is multiplied by weights from 0 to 1 that it computes from itself.

`Cbam1d` is for series (B, C, T), `TripletAttention` for images (B, C, H, W).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Cbam1d(nn.Module):
    """Convolutional block attention for a series: gates its channels, then its times.

    Reference: Woo et al. 2018, arXiv:1807.06521, equations 1 to 3, in one dimension.

    Args:
        channels: C.
        reduction: by how much the shared hidden layer of the channel gate is narrower.
        kernel_size: odd size of the convolution of the time gate.
    """

    def __init__(self, channels: int, reduction: int = 8, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.channel = nn.Sequential(
            nn.Conv1d(channels, hidden, 1), nn.ReLU(), nn.Conv1d(hidden, channels, 1)
        )
        self.time = nn.Conv1d(2, 1, kernel_size, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        # Equation 2: one small network, applied to the mean and to the maximum over time.
        pooled = self.channel(x.mean(-1, keepdim=True)) + self.channel(x.amax(-1, keepdim=True))
        x = x * pooled.sigmoid()  # (B, C, 1)
        # Equation 3: mean and maximum over the channels are the two inputs of a convolution.
        both = torch.stack([x.mean(1), x.amax(1)], dim=1)  # 2 × (B, T) -> (B, 2, T)
        return x * self.time(both).sigmoid()


class AttentionGate(nn.Module):
    """Multiplies x by a gate computed from its maximum and mean over axis 1.

    (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        # (B, C, H, W) -> (B, 2, H, W): maximum and mean over the leading axis
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class TripletAttention(nn.Module):
    """Mean of three gates, over the C-W, C-H and H-W views of a feature map.

    Reference: Misra et al. 2021, arXiv:2010.03045.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel_width = AttentionGate(kernel_size)
        self.channel_height = AttentionGate(kernel_size)
        self.height_width = AttentionGate(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # Exchanging axes puts H or W where the gate pools: the same gate then sees the C-W plane,
        # (B, C, H, W) -> (B, H, C, W), or the C-H plane, (B, C, H, W) -> (B, W, H, C).
        channel_width = self.channel_width(x.transpose(1, 2)).transpose(1, 2)
        channel_height = self.channel_height(x.transpose(1, 3)).transpose(1, 3)
        return (channel_width + channel_height + self.height_width(x)) / 3.0
