"""Densely connected networks in one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models1d.classifier import WaveformClassifier
from models1d.convolutions import SameConv1d, reinitialise
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError


class DenseLayer1d(nn.Sequential):
    """BN, ReLU, 1×1 to bottleneck_size·growth_rate, BN, ReLU, convolution to growth_rate.

    Without a bottleneck (size 0): BN, ReLU, convolution.
    """

    def __init__(
        self, in_channels: int, growth_rate: int, bottleneck_size: int, kernel_size: int
    ) -> None:
        inner = bottleneck_size * growth_rate or in_channels
        bottleneck = (
            (nn.BatchNorm1d(in_channels), nn.ReLU(), nn.Conv1d(in_channels, inner, 1))
            if bottleneck_size
            else ()
        )
        super().__init__(
            *bottleneck,
            nn.BatchNorm1d(inner),
            nn.ReLU(),
            SameConv1d(inner, growth_rate, kernel_size),
        )


class DenseBlock1d(nn.Module):
    """Layers that each see the outputs of all before: (B, C, T) -> (B, C + n·growth_rate, T)."""

    def __init__(
        self,
        in_channels: int,
        n_layers: int,
        growth_rate: int,
        bottleneck_size: int,
        kernel_size: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DenseLayer1d(in_channels + i * growth_rate, growth_rate, bottleneck_size, kernel_size)
            for i in range(n_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class DenseNet1d(WaveformClassifier):
    """DenseNet of Huang et al. 2017, arXiv:1608.06993, in one dimension.

    Args:
        growth_rate: channels that each layer adds.
        block_config: layers of each block.
        num_init_features: channels of the stem.
        bottleneck_size: width of the bottleneck in growth rates; 0 for none.
        first_kernel_size: of the stem.
        kernel_size: of the layers.
        in_channels: detectors; None takes as many as the observation has.
        num_classes: logits; 0 leaves the pooled features.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.

    Raises:
        UserError: no blocks, or a negative bottleneck.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bottleneck_size: int = 4,
        first_kernel_size: int = 7,
        kernel_size: int = 3,
        in_channels: int | None = None,
        num_classes: int = 1,
        reinit: bool = True,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        in_channels = observation.num_detectors if in_channels is None else in_channels
        if not block_config or bottleneck_size < 0:
            raise UserError(
                f"DenseNet1d: block_config = {tuple(block_config)} and bottleneck_size = "
                f"{bottleneck_size}: expected at least one block, and a size of at least 0"
            )
        parts: list[nn.Module] = [
            nn.Conv1d(
                in_channels,
                num_init_features,
                first_kernel_size,
                stride=2,
                padding=first_kernel_size // 2,
            ),
            nn.BatchNorm1d(num_init_features),
            nn.ReLU(),
            nn.MaxPool1d(3, stride=2, padding=1),
        ]
        channels = num_init_features
        for i, n_layers in enumerate(block_config):
            if i > 0:  # transition: half the channels, half the length
                parts += [
                    nn.BatchNorm1d(channels),
                    nn.ReLU(),
                    nn.Conv1d(channels, channels // 2, 1),
                    nn.AvgPool1d(2),
                ]
                channels //= 2
            parts.append(
                DenseBlock1d(channels, n_layers, growth_rate, bottleneck_size, kernel_size)
            )
            channels += n_layers * growth_rate
        self.features = nn.Sequential(*parts, nn.BatchNorm1d(channels), nn.ReLU())
        self.num_features = channels
        self.reset_classifier(num_classes)
        if reinit:
            reinitialise(self)

    def feature_layers(self) -> Sequence[nn.Module]:
        """Stem, blocks and transitions: (B, D, T) -> (B, C, T / 32) with four blocks."""
        return list(self.features)


def densenet121_1d(*, observation: Observation = COMPETITION, **params: Any) -> DenseNet1d:
    """Return a DenseNet1d with blocks of 6, 12, 24 and 16 layers."""
    return DenseNet1d(**{"block_config": (6, 12, 24, 16), **params}, observation=observation)


def densenet169_1d(*, observation: Observation = COMPETITION, **params: Any) -> DenseNet1d:
    """Return a DenseNet1d with blocks of 6, 12, 32 and 32 layers."""
    return DenseNet1d(**{"block_config": (6, 12, 32, 32), **params}, observation=observation)


def densenet201_1d(*, observation: Observation = COMPETITION, **params: Any) -> DenseNet1d:
    """Return a DenseNet1d with blocks of 6, 12, 48 and 32 layers."""
    return DenseNet1d(**{"block_config": (6, 12, 48, 32), **params}, observation=observation)
