"""WaveNet-like networks: stacks of dilated convolutions, gated or simplified."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layers.activations import make_activation
from models1d.classifier import WaveformClassifier
from models1d.convolutions import SameConv1d, reinitialise
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError, check_choice


def entry_convolution(in_channels: int, out_channels: int, downsample: bool | int) -> nn.Conv1d:
    """Return the first convolution of a block: 1×1, or one that divides the length.

    `downsample` d > 1 means kernel d + 1, stride d, padding d // 2; True means 2.
    """
    factor = 2 if downsample is True else int(downsample)
    if factor < 0:
        raise UserError(f"wave block: downsample = {downsample!r}: expected a bool or a factor")
    if factor < 2:
        return nn.Conv1d(in_channels, out_channels, 1)
    return nn.Conv1d(in_channels, out_channels, factor + 1, stride=factor, padding=factor // 2)


class GatedLayer(nn.Module):
    """conv1×1(tanh(conv_k(x)) · σ(conv'_k(x))): (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        # Both convolutions of the gate in one call: the first half of its output is the tanh's.
        self.gate = SameConv1d(channels, 2 * channels, kernel_size, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        signal, gate = self.gate(x).chunk(2, dim=1)  # (B, 2C, T) -> 2 × (B, C, T)
        return self.mix(torch.tanh(signal) * torch.sigmoid(gate))


class WaveBlock(nn.Module):
    """Gated wave block: dilations 1, 2, 4, ...; the entry plus the sum of all layers' outputs.

    Each layer is fed the output of the one before it, not the running sum.

    Reference: van den Oord et al. 2016, arXiv:1609.03499, section 2.3, as used in the
    challenge's second place.

    Args:
        in_channels: C.
        out_channels: C'.
        n_layers: how many dilated layers.
        kernel_size: of the dilated convolutions.
        downsample: False, True (2) or the factor by which the entry divides the length.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_layers: int,
        kernel_size: int = 3,
        downsample: bool | int = False,
    ) -> None:
        super().__init__()
        self.entry = entry_convolution(in_channels, out_channels, downsample)
        self.layers = nn.ModuleList(
            GatedLayer(out_channels, kernel_size, 2**i) for i in range(n_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C', T / downsample)."""
        return sum_of_layers(self.entry(x), self.layers)


class SimplifiedWaveBlock(nn.Module):
    """Wave block without gates: BN, ReLU, dilated convolution, BN, ReLU, 1×1 in each layer.

    Arguments and accumulation as in `WaveBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_layers: int,
        kernel_size: int = 3,
        downsample: bool | int = False,
    ) -> None:
        super().__init__()
        self.entry = entry_convolution(in_channels, out_channels, downsample)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(out_channels),
                nn.ReLU(),
                SameConv1d(out_channels, out_channels, kernel_size, dilation=2**i),
                nn.BatchNorm1d(out_channels),
                nn.ReLU(),
                nn.Conv1d(out_channels, out_channels, 1),
            )
            for i in range(n_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C', T / downsample)."""
        return sum_of_layers(self.entry(x), self.layers)


def sum_of_layers(x: Tensor, layers: nn.ModuleList) -> Tensor:
    """Return x + f1(x) + f2(f1(x)) + ..."""
    total = x
    for layer in layers:
        x = layer(x)
        total = total + x
    return total


WAVE_BLOCKS = {"gated": WaveBlock, "none": WaveBlock, "simplified": SimplifiedWaveBlock}


def wave_block_class(wave_block: str) -> type[WaveBlock] | type[SimplifiedWaveBlock]:
    """Return the class for 'gated' (alias 'none') or 'simplified'.

    Raises:
        UserError: any other name.
    """
    check_choice("wave block", "wave_block", wave_block, list(WAVE_BLOCKS))
    return WAVE_BLOCKS[wave_block]


class WaveNet1d(WaveformClassifier):
    """Wave blocks, each followed by batch norm; then activation, average over time, linear.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        hidden_dims: channels of each block.
        wave_layers: dilated layers of each block.
        wave_block: 'gated' (alias 'none') or 'simplified'.
        kernel_size: of the dilated convolutions.
        num_classes: logits; 0 leaves the pooled features.
        activation: before pooling, name in `layers.ACTIVATIONS` or module class.
        downsample: by how much each block divides the length: bool, factor, or one a block.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.

    Raises:
        UserError: lists of different lengths or an unknown block.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        hidden_dims: Sequence[int] = (16, 32, 64, 128),
        wave_layers: Sequence[int] = (12, 8, 4, 1),
        wave_block: str = "none",
        kernel_size: int = 3,
        num_classes: int = 1,
        activation: str | type[nn.Module] = nn.ReLU,
        downsample: bool | int | Sequence[bool | int] = False,
        reinit: bool = False,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        in_channels = observation.num_detectors if in_channels is None else in_channels
        block = wave_block_class(wave_block)
        factors = [downsample] * len(hidden_dims) if isinstance(downsample, int) else downsample
        if not len(hidden_dims) == len(wave_layers) == len(factors):
            raise UserError(
                f"WaveNet1d: hidden_dims, wave_layers and downsample name {len(hidden_dims)}, "
                f"{len(wave_layers)} and {len(factors)} blocks: give each one number a block"
            )
        inputs = [in_channels, *hidden_dims[:-1]]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    block(*widths, layers, kernel_size, factor), nn.BatchNorm1d(widths[1])
                )
                for widths, layers, factor in zip(
                    zip(inputs, hidden_dims, strict=True), wave_layers, factors, strict=True
                )
            )
        )
        self.activation = make_activation(activation, "WaveNet1d")
        self.num_features = hidden_dims[-1]
        self.reset_classifier(num_classes)
        if reinit:
            reinitialise(self)

    def feature_layers(self) -> Sequence[nn.Module]:
        """Wave blocks with their norms, and the activation: (B, D, T) -> (B, C, T')."""
        return [*self.blocks, self.activation]
