"""A pre-activation residual network with grouped convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from layers.activations import make_activation
from models1d.classifier import WaveformClassifier
from models1d.convolutions import SameConv1d, reinitialise
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError


def norm(channels: int, use_bn: bool) -> nn.Module:
    return nn.BatchNorm1d(channels) if use_bn else nn.Identity()


class PreActivationBlock1d(nn.Module):
    """[BN, activation, dropout, convolution] twice, beside a shortcut.

    The shortcut is max-pooled by the stride, and zero-padded evenly on both sides of the channel
    axis where the block has more channels out than in.

    Args:
        in_channels: C.
        out_channels: C'.
        kernel_size, groups: of both convolutions.
        stride: of the first one.
        use_bn, dropout, activation: as in `ResNet1d`.
        first: the input is activated already, so the first convolution stands alone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        groups: int,
        use_bn: bool,
        dropout: float,
        activation: str | type[nn.Module],
        first: bool,
    ) -> None:
        super().__init__()
        before = [norm(in_channels, use_bn), make_activation(activation), nn.Dropout(dropout)]
        self.body = nn.Sequential(
            *([] if first else before),
            SameConv1d(in_channels, out_channels, kernel_size, stride, groups=groups),
            norm(out_channels, use_bn),
            make_activation(activation),
            nn.Dropout(dropout),
            SameConv1d(out_channels, out_channels, kernel_size, groups=groups),
        )
        self.stride = stride
        surplus = out_channels - in_channels
        self.channel_padding = (surplus // 2, surplus - surplus // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C', ceil(T / stride))."""
        shortcut = x
        if self.stride > 1:
            shortcut = F.max_pool1d(shortcut, self.stride, ceil_mode=True)
        if any(self.channel_padding):
            shortcut = F.pad(shortcut, (0, 0, *self.channel_padding))  # (B, C, T) -> (B, C', T)
        return self.body(x) + shortcut


class ResNet1dBody(nn.Module):
    """Stem and residual blocks: (B, D, T) -> (B, C, T'), before the last norm and activation.

    Arguments as in `ResNet1d`.

    Attributes:
        num_features: C.
    """

    def __init__(
        self,
        in_channels: int,
        base_filters: int = 64,
        kernel_size: int = 16,
        stride: int = 2,
        groups: int = 32,
        n_block: int = 16,
        downsample_gap: int | None = None,
        increasefilter_gap: int | None = None,
        use_bn: bool = True,
        dropout: float = 0.2,
        activation: str | type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if base_filters % groups:
            raise UserError(
                f"ResNet1d: base_filters = {base_filters} is no multiple of groups = {groups}: "
                "grouped convolutions need one"
            )
        downsample_gap = downsample_gap or max(n_block // 8, 1)
        increasefilter_gap = increasefilter_gap or max(n_block // 4, 1)
        self.stem = nn.Sequential(
            SameConv1d(in_channels, base_filters, kernel_size),
            norm(base_filters, use_bn),
            make_activation(activation),
        )
        blocks = []
        channels = base_filters
        for i in range(n_block):
            out = 2 * channels if i > 0 and i % increasefilter_gap == 0 else channels
            # every gap-th block from the second on; with a gap of 1, every block
            strides = i % downsample_gap == 1 % downsample_gap
            blocks.append(
                PreActivationBlock1d(
                    channels,
                    out,
                    kernel_size,
                    stride if strides else 1,
                    groups,
                    use_bn,
                    dropout,
                    activation,
                    first=i == 0,
                )
            )
            channels = out
        self.blocks = nn.Sequential(*blocks)
        self.num_features = channels

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class ResNet1d(WaveformClassifier):
    """Stem, `n_block` pre-activation blocks, BN, activation, average over time, linear.

    The architecture follows Hong et al. 2019 (the 1-D ResNet for ECG), as the challenge's second
    place used it. Its block 0 held a batch norm that no data passed through; here it is gone,
    so that there are 2·base_filters fewer parameters than published.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        base_filters: channels of the stem.
        kernel_size: of every convolution.
        stride: by which some blocks divide the length.
        groups: of the blocks' convolutions.
        n_block: how many blocks.
        n_classes: logits; 0 leaves the pooled features.
        downsample_gap: blocks from one stride to the next; n_block // 8 if not given.
        increasefilter_gap: blocks from one doubling of channels to the next; n_block // 4 if not
            given.
        use_bn: batch norms.
        dropout: before each convolution of a block.
        activation: name in `layers.ACTIVATIONS` or module class.
        final_act: activation before pooling.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.

    Raises:
        UserError: filters that the groups do not divide.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        base_filters: int = 64,
        kernel_size: int = 16,
        stride: int = 2,
        groups: int = 32,
        n_block: int = 16,
        n_classes: int = 1,
        downsample_gap: int | None = None,
        increasefilter_gap: int | None = None,
        use_bn: bool = True,
        dropout: float = 0.2,
        activation: str | type[nn.Module] = nn.ReLU,
        final_act: bool = True,
        reinit: bool = False,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        in_channels = observation.num_detectors if in_channels is None else in_channels
        self.body = ResNet1dBody(
            in_channels,
            base_filters,
            kernel_size,
            stride,
            groups,
            n_block,
            downsample_gap,
            increasefilter_gap,
            use_bn,
            dropout,
            activation,
        )
        self.num_features = self.body.num_features
        self.norm = norm(self.num_features, use_bn)
        self.activation = make_activation(activation) if final_act else nn.Identity()
        self.reset_classifier(n_classes)
        if reinit:
            reinitialise(self)

    def feature_layers(self) -> Sequence[nn.Module]:
        """Stem, blocks, norm and activation: (B, D, T) -> (B, C, T')."""
        return [self.body.stem, *self.body.blocks, self.norm, self.activation]
