"""A residual network with a branch for each detector; detectors that are alike share one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layers.activations import make_activation
from layers.attention import Cbam1d
from layers.front import FrontStep
from layers.pooling import GeMPool1d, GlobalPool1d
from layers.stochastic_depth import DropPath
from models1d.classifier import WaveformClassifier
from models1d.detector_groups import group_channels
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError, check_choice

# Arguments of `BranchedResNet1d` for strain whitened to 1,024 Hz, by name of the size.
BRANCHED_SIZES = {
    "small": {
        "widths": (16, 48, 64, 96),
        "strides": (4, 2, 2, 2),
        "first_kernel_size": 31,
        "first_stride": 4,
    },
    "base": {
        "widths": (32, 96, 128, 192),
        "depths": (1, 2, 2, 2),
        "strides": (2, 2, 2, 2),
        "first_kernel_size": 63,
        "first_stride": 4,
        "second_concat": True,
    },
    "large": {
        "widths": (48, 128, 256, 384),
        "depths": (2, 2, 3, 2),
        "kernel_sizes": (15, 9, 7, 5),
        "strides": (2, 2, 2, 2),
        "first_kernel_size": 63,
        "first_stride": 2,
        "second_concat": True,
        "drop_path": 0.1,
    },
}


class DownConv1d(nn.Sequential):
    """Convolution and batch norm that divide the length by `stride`, by stride or by pooling.

    With pooling ('avg', 'max', 'gem') the convolution runs at the full rate first, which is more
    accurate and costs more.
    """

    KINDS = ("stride", "avg", "max", "gem")

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, kind: str
    ) -> None:
        check_choice("BranchedResNet1d", "downsampling", kind, self.KINDS)
        inside = stride if kind == "stride" else 1
        parts: list[nn.Module] = [
            nn.Conv1d(
                in_channels,
                out_channels,
                kernel_size,
                stride=inside,
                padding="same" if inside == 1 else (kernel_size - 1) // 2,
                bias=False,
            ),
            nn.BatchNorm1d(out_channels),
        ]
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
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        activation: str | type[nn.Module],
        downsampling: str,
        dropout: float,
        attention: str | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("BranchedResNet1d", "attention", attention, (None, "cbam"))
        self.body = nn.Sequential(
            DownConv1d(in_channels, out_channels, kernel_size, stride, downsampling),
            make_activation(activation),
            nn.Dropout(dropout),
            nn.Conv1d(out_channels, out_channels, kernel_size, padding="same", bias=False),
            nn.BatchNorm1d(out_channels),
        )
        if attention == "cbam":
            self.body.append(Cbam1d(out_channels))
        if drop_path:
            self.body.append(DropPath(drop_path))
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

    Each detector has a stem and first stages of its own. Detectors with the same noise curve, such
    as the two of LIGO, share one set of weights (they are folded into the batch, so that it is one
    call). Then the branches are concatenated by channel and followed by one joint network.
    The idea, with long first kernels, is that of the third-placed team of the G2Net challenge
    (one such network: CV 0.8819, private leaderboard 0.8820); this implementation and its sizes
    are ours.
    With `second_concat` the branches have one more stage beside the first joint stage, with its
    stride, and are concatenated to the joint network a second time.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        num_classes: logits; 0 leaves the pooled features.
        widths: channels of each stage; in a branch stage, of each branch.
        depths: residual blocks of each stage.
        kernel_sizes: odd kernel size of each stage's blocks.
        strides: by how much each stage's first block divides the length.
        first_kernel_size: of the stem's convolution on the strain.
        first_stride: by how much the stem divides the length.
        branch_stages: how many stages come before the detectors meet.
        second_concat: whether the branches join the joint network a second time.
        share_branches: which detectors share a branch's weights: true for those with the same noise
            curve, false for none, or groups of their names, e.g. [[H1, L1], [ET1, ET2]].
        activation: name in `layers.ACTIVATIONS` or a module class.
        downsampling: 'stride', or a pooling 'avg', 'max', 'gem' after a full-rate convolution.
        pooling: over time at the end: 'avg', 'max', 'concat' (both) or 'gem'.
        attention: 'cbam' puts that gate at the end of each block.
        drop_path: probability of skipping the last block in training; it rises linearly with
            depth, from zero in the first block.
        dropout: inside the blocks.
        head_dropout: before the linear layer.
        observation: the detectors and their noise curves; an experiment gives its own.

    Raises:
        UserError: arguments that do not fit together.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        num_classes: int = 1,
        widths: Sequence[int] = (16, 48, 64, 96),
        depths: Sequence[int] = (1, 1, 1, 1),
        kernel_sizes: Sequence[int] = (15, 7, 7, 5),
        strides: Sequence[int] = (2, 4, 2, 2),
        first_kernel_size: int = 63,
        first_stride: int = 8,
        branch_stages: int = 1,
        share_branches: bool | Sequence[Sequence[str]] = True,
        activation: str | type[nn.Module] = "silu",
        downsampling: str = "stride",
        pooling: str = "concat",
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        second_concat: bool = False,
        attention: str | None = None,
        drop_path: float = 0.0,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        in_channels = observation.num_detectors if in_channels is None else in_channels
        if in_channels != observation.num_detectors:
            raise UserError(
                f"BranchedResNet1d: in_channels = {in_channels} and the observation "
                f"({observation}) has {observation.num_detectors} detectors: leave it out"
            )
        check_stages(widths, depths, kernel_sizes, strides, branch_stages, in_channels)
        if second_concat and not 0 < branch_stages < len(widths):
            raise UserError(
                f"BranchedResNet1d: second_concat needs a branch stage and a joint one, and "
                f"branch_stages = {branch_stages} of {len(widths)}"
            )
        last = max(sum(depths) - 1, 1)
        self.in_channels = in_channels
        # Channels that share a branch, by the number of the branch.
        self.groups = group_channels(observation, share_branches)

        def stage(i: int, channels: int, out: int | None = None) -> nn.Sequential:
            width = out or widths[i]
            return nn.Sequential(
                *(
                    ResidualBlock1d(
                        channels if j == 0 else width,
                        width,
                        kernel_sizes[i],
                        strides[i] if j == 0 else 1,
                        activation,
                        downsampling,
                        dropout,
                        attention,
                        drop_path * (sum(depths[:i]) + j) / last,
                    )
                    for j in range(depths[i])
                )
            )

        def branch() -> nn.Sequential:
            stem = (
                DownConv1d(1, widths[0], first_kernel_size, first_stride, downsampling),
                make_activation(activation),
            )
            inner = (stage(i, widths[max(i - 1, 0)]) for i in range(branch_stages))
            return nn.Sequential(*stem, *inner)

        branches = len(self.groups)
        self.branches = nn.ModuleList(branch() for _ in range(branches))
        own = widths[max(branch_stages - 1, 0)]
        merged = in_channels * own
        inputs = [merged, *widths[branch_stages:]]
        self.late_branches = nn.ModuleList(
            stage(branch_stages, own, own) for _ in range(branches if second_concat else 0)
        )
        if second_concat:
            inputs[1] += merged
        self.stages = nn.Sequential(
            *(stage(branch_stages + i, inputs[i]) for i in range(len(widths) - branch_stages))
        )
        self.pool = GlobalPool1d(pooling)
        self.num_features = self.pool.width(inputs[-1])
        self.head_drop = nn.Dropout(head_dropout)
        self.reset_classifier(num_classes)

    def forward_branches(self, x: Tensor, branches: nn.ModuleList | None = None) -> Tensor:
        """(B, D·C, T) -> (B, D·C', T'), the detectors' channels one after the other.

        Detectors come in the order of `groups`, those of a group side by side.
        """
        branches = self.branches if branches is None else branches
        batch, channels = x.shape[0], x.shape[1] // self.in_channels
        shares = [len(group) for group in self.groups]
        parts = x.split([share * channels for share in shares], dim=1)
        outputs = []
        for share, part, branch in zip(shares, parts, branches, strict=True):
            # of n detectors: (B, nC, T) -> (nB, C, T) -> (nB, C', T') -> (B, nC', T')
            y = branch(part.reshape(share * batch, channels, -1))
            outputs.append(y.reshape(batch, -1, y.shape[-1]))
        return torch.cat(outputs, dim=1)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, C, T')."""
        return self.join(self.forward_branches(self.grouped(x)))

    def grouped(self, x: Tensor) -> Tensor:
        """Put the detectors of (B, D, ...) into the order of `groups`."""
        order = [channel for group in self.groups for channel in group]
        if order == sorted(order):
            return x
        # Slices, since a list as an index of a CUDA tensor makes the host wait for the device.
        return torch.cat([x[:, channel : channel + 1] for channel in order], dim=1)

    def join(self, x: Tensor) -> Tensor:
        """Let the detectors meet: what `forward_branches` returns -> (B, C, T')."""
        if not self.late_branches:
            return self.stages(x)
        late = self.forward_branches(x, self.late_branches)
        return self.stages[1:](torch.cat([self.stages[0](x), late], dim=1))

    def forward_apart(self, x: Tensor) -> Tensor:
        """Return what the branches make of each detector alone, (B, D, T) -> (B, D, C', T').

        A detector's part depends on no other detector, nor, outside training, on other rows. A
        search computes it once and puts it together anew in each time slide.
        """
        y = self.forward_branches(self.grouped(x))
        y = y.unflatten(1, (self.in_channels, -1))  # (B, D·C', T') -> (B, D, C', T')
        order = [channel for group in self.groups for channel in group]
        places = [order.index(channel) for channel in range(self.in_channels)]
        return y if places == sorted(places) else torch.stack([y[:, p] for p in places], dim=1)

    def forward_joined(self, apart: Tensor) -> Tensor:
        """Return logits (B, num_classes) of what `forward_apart` returned, of any rows of each."""
        # (B, D, C', T') -> (B, D·C', T'), in the order of the groups
        return self.forward_head(self.join(self.grouped(apart).flatten(1, 2)))

    def forward_head(self, x: Tensor) -> Tensor:
        """(B, C, T') -> (B, num_classes)."""
        return self.classifier(self.head_drop(self.pool(x)))

    def front_steps(self) -> list[FrontStep]:
        """Return the branches, up to where the detectors meet; see `layers/front.py`.

        None for a child with a forward pass or features of its own.
        """
        own = (type(self).forward, type(self).forward_features)
        if own != (WaveformClassifier.forward, BranchedResNet1d.forward_features):
            return []
        return [FrontStep(self.forward_apart, self.forward_joined)]


def check_stages(
    widths: Sequence[int],
    depths: Sequence[int],
    kernel_sizes: Sequence[int],
    strides: Sequence[int],
    branch_stages: int,
    in_channels: int,
) -> None:
    """Check the stages of a `BranchedResNet1d`.

    Raises:
        UserError: they do not fit together.
    """
    lengths = {
        "widths": len(widths),
        "depths": len(depths),
        "kernel_sizes": len(kernel_sizes),
        "strides": len(strides),
    }
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
