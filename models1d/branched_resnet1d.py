"""A residual network with one branch for each detector, the two LIGO branches sharing weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layers import GeMPool1d, GlobalPool1d, check_choice, make_activation
from models1d.classifier import WaveformClassifier
from utils import UserError


class DownConv1d(nn.Sequential):
    """Convolution and batch norm that divide the length by `stride`, by stride or by pooling.

    Pooling ('avg', 'max', 'gem') runs the convolution at the full rate first: better and dearer.
    """

    KINDS = ("stride", "avg", "max", "gem")

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, kind: str
    ) -> None:
        check_choice("BranchedResNet1d", "downsampling", kind, self.KINDS)
        inside = stride if kind == "stride" else 1
        parts: list[nn.Module] = [
            nn.Conv1d(
                in_channels, out_channels, kernel_size, stride=inside,
                padding="same" if inside == 1 else (kernel_size - 1) // 2, bias=False,
            ),
            nn.BatchNorm1d(out_channels),
        ]  # fmt: skip
        if kind != "stride" and stride > 1:
            pools = {"avg": nn.AvgPool1d, "max": nn.MaxPool1d, "gem": GeMPool1d}
            parts.append(pools[kind](stride))
        super().__init__(*parts)


class ResidualBlock1d(nn.Module):
    """Two convolutions beside a shortcut: (B, in, T) -> (B, out, T / stride).

    Striding rounds the length up, pooling down.

    The shortcut is averaged over the stride and, where widths differ, mapped by a 1×1
    convolution ("ResNet-D", He et al. 2019, arXiv:1812.01187).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int,
        activation: str | type[nn.Module], downsampling: str, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.body = nn.Sequential(
            DownConv1d(in_channels, out_channels, kernel_size, stride, downsampling),
            make_activation(activation),
            nn.Dropout(dropout),
            nn.Conv1d(out_channels, out_channels, kernel_size, padding="same", bias=False),
            nn.BatchNorm1d(out_channels),
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool1d(stride, ceil_mode=True, count_include_pad=False))
        if in_channels != out_channels:
            shortcut.append(nn.Conv1d(in_channels, out_channels, 1, bias=False))
            shortcut.append(nn.BatchNorm1d(out_channels))
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        body, shortcut = self.body(x), self.shortcut(x)
        # Pooling and striding may round the length differently by one column.
        return self.activation(body + shortcut[..., : body.shape[-1]])


class BranchedResNet1d(WaveformClassifier):
    """A 1-D residual network on pre-whitened strain, branched by detector at its beginning.

    Each detector has a stem and its first stages to itself; the LIGO detectors, whose noise and
    response are alike, share one set of weights (they are folded into the batch, so that it is
    one call). The branches are then concatenated by channel and go on as one network. The idea,
    with long first kernels, is that of the third-placed team of the G2Net challenge (one such
    network: CV 0.8819, private leaderboard 0.8820); this implementation and its sizes are ours.

    Args:
        in_channels: detectors; the first two are the LIGO ones.
        num_classes: logits; 0 leaves the pooled features.
        widths: channels of each stage; in a branch stage, of each branch.
        depths: residual blocks of each stage.
        kernel_sizes: odd kernel size of each stage's blocks.
        strides: by how much each stage's first block divides the length.
        first_kernel_size: of the stem's convolution on the strain.
        first_stride: by how much the stem divides the length.
        branch_stages: how many stages come before the detectors meet.
        share_ligo: whether the first two detectors share a branch's weights.
        activation: name in `layers.ACTIVATIONS` or a module class.
        downsampling: 'stride', or a pooling 'avg', 'max', 'gem' after a full-rate convolution.
        pooling: over time at the end: 'avg', 'max', 'concat' (both) or 'gem'.
        dropout: inside the blocks.
        head_dropout: before the linear layer.

    Raises:
        UserError: arguments that do not fit together.
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 1,
        widths: Sequence[int] = (16, 48, 64, 96), depths: Sequence[int] = (1, 1, 1, 1),
        kernel_sizes: Sequence[int] = (15, 7, 7, 5), strides: Sequence[int] = (2, 4, 2, 2),
        first_kernel_size: int = 63, first_stride: int = 8, branch_stages: int = 1,
        share_ligo: bool = True, activation: str | type[nn.Module] = "silu",
        downsampling: str = "stride", pooling: str = "concat", dropout: float = 0.0,
        head_dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_stages(widths, depths, kernel_sizes, strides, branch_stages, in_channels)
        self.in_channels = in_channels
        self.share_ligo = share_ligo and in_channels > 1

        def stage(i: int, channels: int) -> nn.Sequential:
            return nn.Sequential(
                *(
                    ResidualBlock1d(
                        channels if j == 0 else widths[i], widths[i], kernel_sizes[i],
                        strides[i] if j == 0 else 1, activation, downsampling, dropout,
                    )
                    for j in range(depths[i])
                )
            )  # fmt: skip

        def branch() -> nn.Sequential:
            stem = (
                DownConv1d(1, widths[0], first_kernel_size, first_stride, downsampling),
                make_activation(activation),
            )
            inner = (stage(i, widths[max(i - 1, 0)]) for i in range(branch_stages))
            return nn.Sequential(*stem, *inner)

        branches = in_channels - 1 if self.share_ligo else in_channels
        self.branches = nn.ModuleList(branch() for _ in range(branches))
        merged = in_channels * widths[max(branch_stages - 1, 0)]
        inputs = [merged, *widths[branch_stages:]]
        self.stages = nn.Sequential(
            *(stage(branch_stages + i, inputs[i]) for i in range(len(widths) - branch_stages))
        )
        self.pool = GlobalPool1d(pooling)
        self.num_features = self.pool.width(inputs[-1])
        self.head_drop = nn.Dropout(head_dropout)
        self.reset_classifier(num_classes)

    def forward_branches(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, D·C, T'), the detectors' channels one after the other."""
        batch = x.shape[0]
        outputs = []
        alone = 0
        if self.share_ligo:
            # (B, 2, T) -> (2B, 1, T) -> (2B, C, T') -> (B, 2C, T')
            pair = self.branches[0](x[:, :2].reshape(2 * batch, 1, -1))
            outputs.append(pair.reshape(batch, -1, pair.shape[-1]))
            alone = 2
        own = self.branches[1:] if self.share_ligo else self.branches
        outputs += [branch(x[:, alone + i, None]) for i, branch in enumerate(own)]
        return torch.cat(outputs, dim=1)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, C, T')."""
        return self.stages(self.forward_branches(x))

    def forward_head(self, x: Tensor) -> Tensor:
        """(B, C, T') -> (B, num_classes)."""
        return self.classifier(self.head_drop(self.pool(x)))


def check_stages(
    widths: Sequence[int], depths: Sequence[int], kernel_sizes: Sequence[int],
    strides: Sequence[int], branch_stages: int, in_channels: int,
) -> None:  # fmt: skip
    lengths = {
        "widths": len(widths), "depths": len(depths), "kernel_sizes": len(kernel_sizes),
        "strides": len(strides),
    }  # fmt: skip
    if len(set(lengths.values())) != 1 or not widths:
        raise UserError(f"BranchedResNet1d: {lengths}: give each as many numbers as stages")
    if not 0 <= branch_stages <= len(widths):
        raise UserError(
            f"BranchedResNet1d: branch_stages = {branch_stages}: expected 0 to {len(widths)}, the "
            "number of stages"
        )
    if min(*widths, *depths, *kernel_sizes, *strides, in_channels) < 1:
        raise UserError(
            "BranchedResNet1d: every width, depth, kernel size and stride is at least 1"
        )
    if any(size % 2 == 0 for size in kernel_sizes):
        raise UserError(
            f"BranchedResNet1d: kernel_sizes = {tuple(kernel_sizes)}: expected odd numbers, so "
            "that a block and its shortcut stay aligned"
        )
