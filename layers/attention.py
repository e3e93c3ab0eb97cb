"""Attention gates for series and for images."""

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
        pooled = self.channel(x.mean(-1, keepdim=True)) + self.channel(x.amax(-1, keepdim=True))
        x = x * pooled.sigmoid()  # (B, C, 1)
        both = torch.stack([x.mean(1), x.amax(1)], dim=1)  # 2 × (B, T) -> (B, 2, T)
        return x * self.time(both).sigmoid()


class AttentionGate(nn.Module):
    """Multiplies x by a gate seen through its leading axis: (B, C, H, W) -> the same."""

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
        # (B, C, H, W) -> (B, H, C, W) and back; (B, C, H, W) -> (B, W, H, C) and back
        channel_width = self.channel_width(x.transpose(1, 2)).transpose(1, 2)
        channel_height = self.channel_height(x.transpose(1, 3)).transpose(1, 3)
        return (channel_width + channel_height + self.height_width(x)) / 3.0
