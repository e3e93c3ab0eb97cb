"""The base of all networks on the waveform: pooled features, a linear layer, mixing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from layers.front import FrontStep
from layers.mixing import mix_input


class WaveformClassifier(nn.Module):
    """Base of the 1-D networks: a child sets `num_features`, calls `reset_classifier`, and defines
    `feature_layers`, or `forward_features` where its layers do not follow one after the other.
    """

    num_features: int

    def feature_layers(self) -> Sequence[nn.Module]:
        """Return the layers that make the features, in order: (B, D, T) -> (B, C, T')."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, C, T')."""
        for layer in self.feature_layers():
            x = layer(x)
        return x

    def front_steps(self) -> list[FrontStep]:
        """Return the layers, each with what follows it; see `layers/front.py`.

        None for a child with a forward pass or features of its own.
        """
        own = (type(self).forward, type(self).forward_features)
        if own != (WaveformClassifier.forward, WaveformClassifier.forward_features):
            return []
        layers = self.feature_layers()

        def step(place: int) -> FrontStep:
            rest = nn.Sequential(*layers[place + 1 :])
            return FrontStep(layers[place], lambda features: self.forward_head(rest(features)))

        return [step(place) for place in range(len(layers))]

    def forward_head(self, x: Tensor) -> Tensor:
        """(B, C, T') -> (B, num_classes)."""
        return self.classifier(x.mean(-1))

    def forward(
        self, x: Tensor, lam: Tensor | None = None, idx: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, num_classes) for strain (B, D, T); with `lam`, mixed, and `lam` too."""
        logits = self.forward_head(self.forward_features(mix_input(x, lam, idx)))
        return logits if lam is None else (logits, lam)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer of `num_classes` logits; 0 leaves the pooled features."""
        self.num_classes = num_classes
        self.classifier = (
            nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        )
