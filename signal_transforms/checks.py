"""Checks of arguments and of inputs that transforms and front-ends share.

Each raises UserError with one sentence that names the class, what it was given and what it expects.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from runtime.errors import UserError


def check_probability(name: str, p: float) -> float:
    """Return p as a float; raises UserError if it is not a number from 0 to 1."""
    if not 0 <= p <= 1:
        raise UserError(f"{name}: p = {p!r} is not a probability: give a number from 0 to 1")
    return float(p)


def check_positive(name: str, **values: float) -> None:
    """Raise UserError if one of the named values is not above zero."""
    for key, value in values.items():
        if not value > 0:
            raise UserError(f"{name}: {key} = {value} must be positive")


def check_band(name: str, lower: float, upper: float, sr: float) -> None:
    """Raise UserError unless 0 < lower < upper < sr / 2, all in Hz."""
    if not 0 < lower < upper < sr / 2:
        raise UserError(
            f"{name}: the band {lower:g} to {upper:g} Hz is not one: expected "
            f"0 < lower < upper < {sr / 2:g}, half the sampling rate"
        )


def check_waveforms(name: str, x: Tensor) -> None:
    """Raise UserError unless x is a floating-point batch (batch, detector, time)."""
    if x.ndim != 3 or not x.is_floating_point():
        raise UserError(
            f"{name} takes float waveforms (batch, detector, time) and was given "
            f"{x.dtype} of shape {tuple(x.shape)}"
        )


def check_images(name: str, x: Tensor) -> None:
    """Raise UserError unless x is a floating-point batch (batch, channel, frequency, frame)."""
    if x.ndim != 4 or not x.is_floating_point():
        raise UserError(
            f"{name} takes float images (batch, channel, frequency, frame) and "
            f"was given {x.dtype} of shape {tuple(x.shape)}"
        )


def check_channels(name: str, channels: Sequence[int], x: Tensor) -> None:
    """Raise UserError unless every number in `channels` is a channel of x (batch, channel, ...)."""
    if not all(0 <= channel < x.shape[1] for channel in channels):
        raise UserError(f"{name}: channels {list(channels)} are not all among {x.shape[1]}")
