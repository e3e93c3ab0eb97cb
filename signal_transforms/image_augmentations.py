"""Transforms of spectrogram images (batch, channel, frequency, frame), on their device.

As with waveforms: pure, batched, each row changed with probability `p` and drawing its own numbers
from torch's default generator. The channels of a row share them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import UserError
from runtime.float32_precision import full_precision
from signal_transforms.checks import check_images, check_probability
from signal_transforms.per_sample_operations import roll_rows

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageTransform(nn.Module):
    """Base of the image transforms: checks the input and draws the rows that are changed.

    A subclass defines `transform_rows`, which returns the changed batch and never writes to its
    input.

    Args:
        always_apply: change every row.
        p: otherwise, the probability of a change; each row draws on its own.
    """

    def __init__(self, always_apply: bool = False, p: float = 0.5) -> None:
        super().__init__()
        self.always_apply = always_apply
        self.p = check_probability(type(self).__name__, p)

    def transform_rows(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        check_images(type(self).__name__, x)
        if self.always_apply:
            return self.transform_rows(x)
        chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < self.p
        return torch.where(chosen, self.transform_rows(x), x)

    def extra_repr(self) -> str:
        return "always" if self.always_apply else f"p={self.p:g}"


def draw_integers(least: int, largest: Tensor | int, x: Tensor) -> Tensor:
    """Draw one integer a row from `least` to `largest`, both included, (batch, 1, 1, 1)."""
    uniform = torch.rand(len(x), 1, 1, 1, device=x.device)
    # float32 draws lie below one, but the product may be rounded up to the next integer
    drawn = least + (uniform * (largest - least + 1)).long()
    return drawn.clamp(max=largest)


# --- masks ---------------------------------------------------------------------------------------


def fill_value(x: Tensor, fill: str) -> Tensor:
    """Return what a mask is filled with, (batch, 1, 1, 1)."""
    if fill == "zero":
        return x.new_zeros(len(x), 1, 1, 1)
    return x.mean(dim=(1, 2, 3), keepdim=True)


def check_fill(name: str, fill: str) -> str:
    if fill not in ("zero", "mean"):
        raise UserError(f"{name}: fill = {fill!r} is not known: choose 'zero' or 'mean'")
    return fill


class BatchFrequencyMask(ImageTransform):
    """Mask a band of rows, 1 to `max_bins` wide, somewhere within `freq_limit`.

    Args:
        max_bins: largest width in rows.
        freq_limit: first row that may be masked, and the row where the band must have ended if it
            were `max_bins` wide.
        fill: "zero" or "mean", that of the row of images.
    """

    def __init__(
        self,
        max_bins: int = 12,
        freq_limit: Sequence[int] = (0, 72),
        fill: str = "zero",
        always_apply: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if max_bins < 1 or freq_limit[1] - freq_limit[0] < max_bins:
            raise UserError(
                f"BatchFrequencyMask: max_bins = {max_bins} does not fit into {tuple(freq_limit)}"
            )
        self.max_bins, self.freq_limit = max_bins, tuple(freq_limit)
        self.fill = check_fill(type(self).__name__, fill)

    def transform_rows(self, x: Tensor) -> Tensor:
        first, last = self.freq_limit[0], min(x.shape[2], self.freq_limit[1]) - self.max_bins
        if last < first:
            raise UserError(
                f"BatchFrequencyMask: {self.max_bins} rows from row {first} on do not fit into an "
                f"image of {x.shape[2]}"
            )
        width = draw_integers(1, self.max_bins, x)
        start = draw_integers(first, last, x)
        rows = torch.arange(x.shape[2], device=x.device)[:, None]  # (frequency, 1)
        inside = (rows >= start) & (rows < start + width)  # (batch, 1, frequency, 1)
        return torch.where(inside, fill_value(x, self.fill), x)


InBatchFrequencyMask = BatchFrequencyMask  # its other name in the original


class BatchTimeMask(ImageTransform):
    """Mask 1 to `max_width` columns, wholly inside the image.

    Args:
        max_width: largest width in frames.
        fill: "zero" or "mean", that of the row of images.
    """

    def __init__(
        self, max_width: int = 64, fill: str = "zero", always_apply: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(always_apply, p)
        if max_width < 1:
            raise UserError(f"BatchTimeMask: max_width = {max_width} must be at least 1")
        self.max_width, self.fill = max_width, check_fill(type(self).__name__, fill)

    def transform_rows(self, x: Tensor) -> Tensor:
        frames = x.shape[-1]
        width = draw_integers(1, min(self.max_width, frames), x)
        start = draw_integers(0, frames - width, x)
        columns = torch.arange(frames, device=x.device)
        inside = (columns >= start) & (columns < start + width)  # (batch, 1, 1, frame)
        return torch.where(inside, fill_value(x, self.fill), x)


class BatchTimeShift(ImageTransform):
    """Roll to the left by a uniform number of columns, around the end."""

    def transform_rows(self, x: Tensor) -> Tensor:
        return roll_rows(x, -draw_integers(1, x.shape[-1], x))


# --- cuts and flips ------------------------------------------------------------------------------


def resize_boxes(
    x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple
) -> Tensor:
    """Resize a box of each row's image to `size` by bicubic interpolation.

    Where the box touches the border of the image, the border is repeated, as `interpolate` does;
    inside, the interpolation sees the pixels around the box.

    Args:
        x: (batch, channel, frequency, frame).
        top, left, height, width: (batch, 1), in pixels.
        size: of the result.
    """
    down = torch.arange(size[0], device=x.device) + 0.5  # centres of the new pixels
    across = torch.arange(size[1], device=x.device) + 0.5
    # grid_sample counts -1 to 1 from edge to edge of the image
    y = 2 * (top + down * height / size[0]) / x.shape[2] - 1  # (batch, new frequency)
    t = 2 * (left + across * width / size[1]) / x.shape[3] - 1  # (batch, new frame)
    shape = (len(x), *size)
    with torch.autocast(x.device.type, enabled=False):
        if needs_repeatable_gradient(x):
            return resize_by_products(x, y, t).to(x.dtype)
        grid = torch.stack([t[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
        resized = F.grid_sample(
            x.float(), grid.float(), "bicubic", padding_mode="border", align_corners=False
        )
    return resized.to(x.dtype)


def needs_repeatable_gradient(x: Tensor) -> bool:
    """Whether x has a gradient that a GPU must sum in one order, which grid_sample's does not.

    That is so behind a front-end that is trained, under `torch.use_deterministic_algorithms`.
    """
    wanted = x.requires_grad and torch.is_grad_enabled()
    return wanted and x.is_cuda and torch.are_deterministic_algorithms_enabled()


def resize_by_products(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """Return what grid_sample does to boxes, as products of matrices, which sum in one order.

    A box has sides along the axes, so that each axis is interpolated on its own.

    Args:
        x: (batch, channel, frequency, frame).
        y, t: where the new rows and columns lie, (batch, new frequency) and (batch, new frame),
            from -1 to 1 between the edges of the image.

    Returns:
        (batch, channel, new frequency, new frame) float32.
    """
    rows, columns = (
        bicubic_weights(at, old)[:, None] for at, old in zip((y, t), x.shape[2:], strict=True)
    )
    with full_precision(x.device.type):
        # (new rows, rows) @ (rows, columns) @ (columns, new columns), of each image
        return rows @ x.float() @ columns.transpose(-1, -2)


def bicubic_weights(at: Tensor, old: int) -> Tensor:
    """Return the weights of the old pixels in the new ones along an axis, (batch, new, old).

    The kernel is Keys' with a = -0.75 (IEEE Transactions on Acoustics, Speech and Signal Processing
    29, 1153, 1981), as torch has it: with the distance d of two pixels,

        (a + 2) d^3 - (a + 3) d^2 + 1  for d <= 1,    a (d^3 - 5 d^2 + 8 d - 4)  for 1 < d < 2.

    What lies beyond the border is the border's pixel.

    Args:
        at: (batch, new), from -1 to 1 between the edges of the image.
        old: number of old pixels.
    """
    a = -0.75
    place = ((at.float() + 1) * old - 1) / 2  # in old pixels, whose centres are whole numbers
    first = place.floor()
    weights = at.new_zeros(*at.shape, old, dtype=torch.float32)
    pixels = torch.arange(old, device=at.device)
    for tap in (-1, 0, 1, 2):  # the four pixels around a place
        d = (place - first - tap).abs()
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        weight = torch.where(d <= 1, near, far)  # (batch, new)
        pixel = (first + tap).clamp(0, old - 1)
        weights = weights + torch.where(pixel[..., None] == pixels, weight[..., None], 0.0)
    return weights


def check_scale(name: str, scale: Sequence[float], largest: float) -> tuple[float, float]:
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= largest:
        raise UserError(
            f"{name}: scale = {tuple(scale)}: expected 0 < least <= largest <= {largest:g}"
        )
    return float(scale[0]), float(scale[1])


class RandomResizedCrop(ImageTransform):
    """Cut out a part of each image at a random place and resize it.

    Args:
        size: of the result, (frequency, frame).
        scale: least and largest share of the image's area, drawn uniformly; both sides shrink by
            its root.

    Raises:
        UserError: a draw with p where the size is not that of the input.
    """

    def __init__(
        self,
        size: Sequence[int] = (256, 256),
        scale: Sequence[float] = (0.8, 1.0),
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        self.size = (int(size[0]), int(size[1]))
        self.scale = check_scale("RandomResizedCrop", scale, 1.0)

    def transform_rows(self, x: Tensor) -> Tensor:
        if not self.always_apply and self.size != tuple(x.shape[2:]):
            raise UserError(
                f"RandomResizedCrop: images of {tuple(x.shape[2:])} become {self.size} and must "
                "then all be changed: use always_apply=True"
            )
        draws = torch.rand(3, len(x), 1, device=x.device)
        side = (self.scale[0] + draws[0] * (self.scale[1] - self.scale[0])).sqrt()  # (batch, 1)
        height = (side * x.shape[2]).round().clamp_min(1)
        width = (side * x.shape[3]).round().clamp_min(1)
        top = ((x.shape[2] - height) * draws[1]).round()
        left = ((x.shape[3] - width) * draws[2]).round()
        return resize_boxes(x, top, left, height, width, self.size)


class TimeResize(ImageTransform):
    """Stretch or squeeze the time axis, at the same number of columns.

    A factor below one cuts that share of the columns out at a random place and stretches it; one
    above one appends zeros on the right and squeezes.

    Args:
        scale: least and largest factor, drawn uniformly for each row.
    """

    def __init__(
        self, scale: Sequence[float] = (0.8, 1.0), always_apply: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(always_apply, p)
        self.scale = check_scale("TimeResize", scale, 100.0)

    def transform_rows(self, x: Tensor) -> Tensor:
        rows, frames = x.shape[2:]
        draws = torch.rand(2, len(x), 1, device=x.device)
        factor = self.scale[0] + draws[0] * (self.scale[1] - self.scale[0])  # (batch, 1)
        width = (factor * frames).round().clamp_min(1)
        left = ((frames - width).clamp_min(0) * draws[1]).round()
        zero = torch.zeros_like(left)
        y = resize_boxes(x, zero, left, zero + rows, width, (rows, frames))
        centre = (torch.arange(frames, device=x.device) + 0.5) * width / frames  # (batch, frame)
        beyond = (left + centre > frames)[:, None, None]  # (batch, 1, 1, frame)
        return torch.where(beyond, 0.0, y)


class HorizontalFlip(ImageTransform):
    """Reverse time."""

    def transform_rows(self, x: Tensor) -> Tensor:
        return x.flip(3)


class VerticalFlip(ImageTransform):
    """Reverse frequency."""

    def transform_rows(self, x: Tensor) -> Tensor:
        return x.flip(2)


class TimeTrim(ImageTransform):
    """Keep a fixed part of the time axis.

    Args:
        trim_range: first and last column as shares of their number.
        mode: "trim" cuts the rest off, "mask" sets it to zero.
    """

    def __init__(
        self,
        trim_range: Sequence[float] = (0.25, 1.0),
        mode: str = "trim",
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if len(trim_range) != 2 or not 0 <= trim_range[0] < trim_range[1] <= 1:
            raise UserError(
                f"TimeTrim: trim_range = {tuple(trim_range)}: expected 0 <= first < last <= 1"
            )
        if mode not in ("trim", "mask"):
            raise UserError(f"TimeTrim: mode = {mode!r} is not known: choose 'trim' or 'mask'")
        if mode == "trim" and not always_apply:
            raise UserError("TimeTrim: mode 'trim' changes the shape and needs always_apply=True")
        self.trim_range, self.mode = tuple(trim_range), mode

    def transform_rows(self, x: Tensor) -> Tensor:
        first, last = (int(share * x.shape[-1]) for share in self.trim_range)
        if self.mode == "trim":
            return x[..., first:last].clone()
        masked = torch.zeros_like(x)
        masked[..., first:last] = x[..., first:last]
        return masked


class NormalizeImage(ImageTransform):
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: one a channel; by default those of ImageNet.
        std: likewise.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if len(mean) != len(std) or any(value == 0 for value in std):
            raise UserError("NormalizeImage: give one mean and one non-zero std a channel")
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def transform_rows(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.mean):
            raise UserError(f"NormalizeImage: {len(self.mean)} means for {x.shape[1]} channels")
        return (x - self.mean.to(x)) / self.std.to(x)
