"""Resizing of images and series that can be made deterministic on a GPU.

On a GPU, torch sums the gradients of its interpolation and of its adaptive average in an order that
differs from run to run. Under `torch.use_deterministic_algorithms` both are computed here as matrix
products instead: resizing is linear, and each axis is resized on its own.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from runtime.float32_precision import full_precision

REPEATABLE = ("nearest", "nearest-exact")  # modes whose gradient a GPU sums in one order


def interpolate(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    corners = False if mode in ("bilinear", "bicubic") else None
    return F.interpolate(image, size, mode=mode, align_corners=corners)


@functools.lru_cache(maxsize=64)
def resampling_matrix(
    old: int, new: int, mode: str, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return what `interpolate` does along one axis, (new, old)."""
    # The columns of a linear map are its outputs for the unit vectors.
    with torch.inference_mode(False):
        units = torch.eye(old, dtype=dtype).view(1, 1, old, old)  # as columns of an image
        return interpolate(units, (new, old), mode)[0, 0].to(device)


def resize(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize (B, C, rows, columns) to `size`, as `torch.nn.functional.interpolate` does.

    Args:
        image: the images.
        size: rows and columns.
        mode: 'nearest', 'nearest-exact', 'bilinear', 'bicubic' (both between the corners of
            pixels, align_corners=False) or 'area'.
    """
    if mode in REPEATABLE or not torch.are_deterministic_algorithms_enabled():
        return interpolate(image, size, mode)
    dtype = torch.promote_types(image.dtype, torch.float32)
    rows, columns = (
        resampling_matrix(old, new, mode, image.device, dtype)
        for old, new in zip(image.shape[-2:], size, strict=True)
    )
    with full_precision(image.device.type):
        # (new rows, rows) @ (B, C, rows, columns) @ (columns, new columns)
        return (rows @ image.to(dtype) @ columns.T).to(image.dtype)


def average_to(x: Tensor, size: int) -> Tensor:
    """Average (..., channel, time) to a given number of frames, as `adaptive_avg_pool1d` does."""
    if not torch.are_deterministic_algorithms_enabled():
        return F.adaptive_avg_pool1d(x, size)
    dtype = torch.promote_types(x.dtype, torch.float32)
    matrix = resampling_matrix(x.shape[-1], size, "area", x.device, dtype)
    with full_precision(x.device.type):
        return (x.to(dtype) @ matrix.T).to(x.dtype)
