"""A plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from models1d.classifier import WaveformClassifier
from models1d.convolutions import SameConv1d, reinitialise
from physics.observation import COMPETITION, Observation


class CNN1d(WaveformClassifier):
    """Convolution, BN, SiLU for each width at the full rate; average over time, linear.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        num_classes: logits; 0 leaves the pooled features.
        hidden_dims: channels of each convolution.
        kernel_size: of each convolution.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        num_classes: int = 1,
        hidden_dims: Sequence[int] = (8, 16, 32, 64),
        kernel_size: int = 3,
        reinit: bool = False,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        in_channels = observation.num_detectors if in_channels is None else in_channels
        parts: list[nn.Module] = []
        for inputs, outputs in zip((in_channels, *hidden_dims), hidden_dims, strict=False):
            parts += [SameConv1d(inputs, outputs, kernel_size), nn.BatchNorm1d(outputs), nn.SiLU()]
        self.features = nn.Sequential(*parts)
        self.num_features = hidden_dims[-1]
        self.reset_classifier(num_classes)
        if reinit:
            reinitialise(self)

    def feature_layers(self) -> Sequence[nn.Module]:
        """Convolution, norm and activation of each width: (B, D, T) -> (B, C, T)."""
        return list(self.features)
