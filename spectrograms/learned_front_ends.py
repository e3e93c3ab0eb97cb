"""Front-ends that learn: networks from strain (batch, detector, time) to images.

They return (batch, channel, frequency, frame) as the fixed ones do, with features in place of
frequencies, and follow autocast as any network.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layers.resampling import average_to
from models1d.convolutions import reinitialise
from models1d.resnet1d import ResNet1dBody
from models1d.wavenet1d import wave_block_class
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.checks import check_waveforms


def as_tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def takes_observation(cls: type[nn.Module]) -> bool:
    return "observation" in inspect.signature(cls).parameters


class AverageAndSquash(nn.Module):
    """The last step of learned front-ends: average pooling along time, a sigmoid, or neither.

    Args:
        output_size: number of frames, or None to leave it.
        sigmoid: whether values end between 0 and 1.
    """

    def __init__(self, output_size: int | None, sigmoid: bool) -> None:
        super().__init__()
        self.output_size = output_size
        self.squash = nn.Sigmoid() if sigmoid else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.squash(x if self.output_size is None else average_to(x, self.output_size))


class WaveNetSpectrogram(nn.Module):
    """One branch of wave blocks an image channel.

    Args:
        in_channels: detectors that a branch sees; None takes all, or 1 with `separate_channel`.
        base_filters: rows of the image; several for a chain of blocks, each downsampling again.
        wave_layers: dilated layers of each branch's blocks.
        wave_block: "simplified" or "gated" (alias "none").
        kernel_size: of the dilated convolutions.
        downsample: by how much each block divides the length.
        sigmoid: a last sigmoid.
        output_size: average the time axis to this many frames.
        separate_channel: feed detector i to branch i alone.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.

    Raises:
        UserError: an unknown block, or arguments that contradict each other.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        base_filters: int | Sequence[int] = 128,
        wave_layers: Sequence[int] = (10, 6, 2),
        wave_block: str = "simplified",
        kernel_size: int = 3,
        downsample: int = 4,
        sigmoid: bool = False,
        output_size: int | None = None,
        separate_channel: bool = False,
        reinit: bool = True,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        if in_channels is None:
            in_channels = 1 if separate_channel else observation.num_detectors
        if separate_channel and in_channels != 1:
            raise UserError(
                f"WaveNetSpectrogram: separate_channel needs in_channels = 1, not {in_channels}"
            )
        block = wave_block_class(wave_block)
        widths = (in_channels, *as_tuple(base_filters))
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    block(before, after, layers, kernel_size, downsample)
                    for before, after in itertools.pairwise(widths)
                )
            )
            for layers in wave_layers
        )
        self.separate_channel = separate_channel
        self.image_channels = len(self.branches)
        self.finish = AverageAndSquash(output_size, sigmoid)
        if reinit:
            reinitialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, branch, filter, time / downsample)."""
        check_waveforms("WaveNetSpectrogram", x)
        if self.separate_channel and x.shape[1] != len(self.branches):
            raise UserError(
                f"WaveNetSpectrogram: {x.shape[1]} channels for {len(self.branches)} branches: "
                "with separate_channel give wave_layers one number a detector"
            )
        # detector i to branch i, (batch, 1, time), or all detectors to every branch
        inputs = x.split(1, dim=1) if self.separate_channel else [x] * len(self.branches)
        outputs = [branch(part) for branch, part in zip(self.branches, inputs, strict=True)]
        # branch outputs (batch, filter, frame) become the channels of one image
        return torch.stack([self.finish(y) for y in outputs], dim=1)


class CNNSpectrogram(nn.Module):
    """One strided convolution an image channel, each with its own kernel size.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        base_filters: rows of the image; after the first of several follow batch norm, ReLU and a
            convolution of the same kernel size and stride 1 each.
        kernel_sizes: one a branch.
        stride: samples between frames.
        sigmoid: a last sigmoid.
        output_size: average the time axis to this many frames.
        conv: class of the convolutions.
        disable_amp: work in float32 under autocast.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        base_filters: int | Sequence[int] = 128,
        kernel_sizes: Sequence[int] = (32, 16, 4),
        stride: int = 4,
        sigmoid: bool = False,
        output_size: int | None = None,
        conv: type[nn.Module] = nn.Conv1d,
        disable_amp: bool = False,
        reinit: bool = True,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        in_channels = observation.num_detectors if in_channels is None else in_channels
        filters = as_tuple(base_filters)
        self.branches = nn.ModuleList()
        for kernel_size in kernel_sizes:
            padding = (kernel_size - 1) // 2
            stages = [conv(in_channels, filters[0], kernel_size, stride=stride, padding=padding)]
            for before, after in itertools.pairwise(filters):
                # "same": one column more on the right where the kernel is even
                stages += [
                    nn.BatchNorm1d(before),
                    nn.ReLU(),
                    nn.ConstantPad1d((padding, kernel_size - 1 - padding), 0.0),
                    conv(before, after, kernel_size),
                ]
            self.branches.append(nn.Sequential(*stages))
        self.disable_amp = disable_amp
        self.image_channels = len(self.branches)
        self.finish = AverageAndSquash(output_size, sigmoid)
        if reinit:
            reinitialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, branch, filter, time / stride)."""
        check_waveforms("CNNSpectrogram", x)
        with torch.autocast(
            x.device.type, enabled=torch.is_autocast_enabled(x.device.type) and not self.disable_amp
        ):
            # autocast leaves a half-precision input as it is, so it is cast here
            x = x.float() if self.disable_amp else x
            outputs = [self.finish(branch(x)) for branch in self.branches]
        columns = min(y.shape[-1] for y in outputs)  # odd and even kernels may differ by one
        return torch.stack([y[..., :columns] for y in outputs], dim=1)


class ResNetSpectrogram(nn.Module):
    """The body of `ResNet1d`, before its last norm and activation, as an image of one channel.

    It has 2 base_filters parameters fewer than published: a batch norm that saw no data is gone.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        base_filters: channels of the stem; they double every `increasefilter_gap` blocks.
        kernel_size: of every convolution.
        stride: by which some blocks divide the length.
        groups: of the blocks' convolutions.
        n_block: how many blocks.
        downsample_gap: blocks from one stride to the next.
        increasefilter_gap: blocks from one doubling of channels to the next.
        transpose: exchange frequency and time.
        reinit: Kaiming-normal convolutions instead of torch's own.
        observation: how many detectors there are; an experiment gives its own.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        base_filters: int = 32,
        kernel_size: int = 3,
        stride: int = 2,
        groups: int = 32,
        n_block: int = 16,
        downsample_gap: int = 8,
        increasefilter_gap: int = 6,
        transpose: bool = False,
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
            dropout=0.0,
        )
        if reinit:
            reinitialise(self)
        self.transpose = transpose
        self.image_channels = 1

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, 1, feature, frame)."""
        check_waveforms("ResNetSpectrogram", x)
        image = self.body(x)[:, None]  # (batch, 1, feature, frame)
        return image.transpose(2, 3) if self.transpose else image


class MultiSpectrogram(nn.Module):
    """Several front-ends at once, their images side by side as channels.

    Args:
        configs: pairs of a front-end class and its arguments; their images must be of one size.
        frozen: whether the members' parameters are kept as they are.
        observation: given to the members that take one; an experiment gives its own.

    Raises:
        UserError: no member, or, in the forward pass, images of different sizes.
    """

    def __init__(
        self,
        configs: Sequence[tuple[type[nn.Module], dict[str, Any]]],
        frozen: bool = False,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        if not configs:
            raise UserError("MultiSpectrogram: give at least one front-end")
        self.members = nn.ModuleList(
            cls(**({"observation": observation} if takes_observation(cls) else {}), **params)
            for cls, params in configs
        )
        self.image_channels = sum(
            getattr(member, "image_channels", observation.num_detectors) for member in self.members
        )
        if frozen:
            self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, sum of channels, frequency, frame)."""
        images = [member(x) for member in self.members]
        if len({image.shape[2:] for image in images}) > 1:
            sizes = ", ".join(
                f"{type(member).__name__} {tuple(image.shape[2:])}"
                for member, image in zip(self.members, images, strict=True)
            )
            raise UserError(
                f"MultiSpectrogram: images of different sizes ({sizes}): choose strides and rows "
                "that agree"
            )
        # under autocast, learned members answer in half precision and fixed ones in float32
        dtype = images[0].dtype
        for image in images[1:]:
            dtype = torch.promote_types(dtype, image.dtype)
        return torch.cat([image.to(dtype) for image in images], dim=1)
