"""The outputs of matched filters that are combinations of a few basis filters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models1d.strided_correlation import POLYPHASE, strided_correlation


def template_outputs(
    x: Tensor, filters: Tensor, combinations: Tensor, start: int, number: int, stride: int
) -> Tensor:
    """Return z, the quadratures of every template, at places `stride` samples apart.

    Args:
        x: (B, T) whitened strain of one detector; outside it there is silence.
        filters: the basis, (basis, length).
        combinations: the templates in it, (template, 2 K, basis), of K components each.
        start: sample at which the filters of the first place begin; negative before x.
        number: of places.
        stride: samples between them.

    Returns:
        (B, template, 2 K, number).
    """
    # As many samples as `strided_correlation` needs for `number` places: whole blocks of places,
    # and the blocks that the last filter reaches into.
    places = POLYPHASE // stride
    blocks = -(-(filters.shape[1] + POLYPHASE - stride) // POLYPHASE)
    length = (-(-number // places) + blocks - 1) * POLYPHASE
    # Outside the window there is silence: zeros on either side.
    x = F.pad(x[:, max(start, 0) :][:, : length + min(start, 0)], (max(-start, 0), 0))
    x = F.pad(x, (0, length - x.shape[1]))  # (B, length)
    with torch.autocast(x.device.type, enabled=autocasts_safely(x.device.type)):
        # Templates are combinations of the basis, so their outputs are of its outputs.
        on_basis = strided_correlation(x, filters, stride)[..., :number]
        # (template x 2 K, basis) @ (B, basis, time) -> (B, template x 2 K, time)
        z = torch.matmul(combinations.flatten(0, 1), on_basis)
    # (B, template x 2 K, time) -> (B, template, 2 K, time)
    return z.unflatten(1, (-1, combinations.shape[1]))


def power(z: Tensor) -> Tensor:
    """Return P = (p^2 + q^2) / 2 of quadratures: (B, template, 2, time) -> (B, template, time).

    Of several components, (B, template, 2 K, time), it is the sum of their powers.
    """
    return z.square().sum(2) / 2


def weighted_power(z: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k w_k P_k of K components: (B, template, 2 K, time) -> (B, template, time).

    Args:
        z: quadratures.
        weights: w, () where there is one component and otherwise (template, K).
    """
    if weights.ndim == 0:
        return weights * power(z)
    return (z.square() * of_quadratures(weights)).sum(2) / 2


def of_quadratures(weights: Tensor) -> Tensor:
    """Return weights of components as factors of z: (template, K) -> (template, 2 K, 1)."""
    return weights.repeat_interleave(2, -1)[..., None]


def autocasts_safely(device_type: str) -> bool:
    """Return whether autocast is on with a type of float32's range; float16 would overflow."""
    enabled = torch.is_autocast_enabled(device_type)
    return enabled and torch.get_autocast_dtype(device_type) != torch.float16
