"""The outputs of matched filters that are combinations of a few basis filters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models1d.strided_correlation import (
    POLYPHASE,
    correlate_frames,
    make_frame_kernel,
    strided_correlation,
)


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
        (B, template, 2 K, number); on a CPU the templates are innermost in memory.
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
        if torch.compiler.is_compiling() or x.device.type != "cpu":
            on_basis = strided_correlation(x, filters, stride)[..., :number]
            # (template x 2 K, basis) @ (B, basis, time) -> (B, template x 2 K, time)
            z = torch.matmul(combinations.flatten(0, 1), on_basis)
            # (B, template x 2 K, time) -> (B, template, 2 K, time)
            return z.unflatten(1, (-1, combinations.shape[1]))
        kernel = make_frame_kernel(filters, stride)
        on_basis = correlate_frames(x, kernel, len(filters))  # (B, time, basis)
        return combine_basis(on_basis, combinations)[..., :number]


def combine_basis(on_basis: Tensor, combinations: Tensor) -> Tensor:
    """Return the outputs of templates, templates innermost and then times in memory.

    Args:
        on_basis: outputs of the basis, (B, time, basis).
        combinations: the templates in it, (template, 2 K, basis).

    Returns:
        (B, template, 2 K, time).
    """
    templates, rows, basis = combinations.shape
    flat = on_basis.reshape(1, -1, basis).expand(rows, -1, -1)  # (2 K, B x time, basis)
    # (template, 2 K, basis) -> (2 K, basis, template)
    z = torch.bmm(flat, combinations.permute(1, 2, 0))
    # (2 K, B x time, template) -> (2 K, B, time, template) -> (B, template, 2 K, time)
    return z.view(rows, *on_basis.shape[:2], templates).permute(1, 3, 0, 2)


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
    if torch.compiler.is_compiling():
        if weights.ndim == 0:
            return weights * power(z)
        return (z.square() * of_quadratures(weights)).sum(2) / 2
    return WeightedPower.apply(z, weights)


class WeightedPower(torch.autograd.Function):
    """`weighted_power`, a quadrature after the other: no square of all of z is kept or written.

    With the gradient g of the result, d w_k = sum g P_k and d z_q = g w_k z_q.
    """

    @staticmethod
    def forward(ctx, z: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(z, weights)
        if weights.ndim == 0:
            return sum_of_squares(z).mul_(weights / 2)
        total = None
        for k, w in enumerate(weights.unbind(1)):
            part = sum_of_squares(z[:, :, 2 * k : 2 * k + 2]).mul_(w[:, None] / 2)
            total = part if total is None else total.add_(part)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, weights = ctx.saved_tensors
        of_z = of_weights = None
        if ctx.needs_input_grad[0]:
            factors = weights if weights.ndim == 0 else of_quadratures(weights)
            of_z = z * factors * gradient[:, :, None]
        if ctx.needs_input_grad[1] and weights.ndim == 0:
            of_weights = sum_of_squares(z).mul_(gradient).sum() / 2
        elif ctx.needs_input_grad[1]:
            of_weights = torch.stack(
                [
                    sum_of_squares(z[:, :, 2 * k : 2 * k + 2]).mul_(gradient).sum((0, 2)) / 2
                    for k in range(weights.shape[1])
                ],
                dim=1,
            )  # K times (template,) -> (template, K)
        return of_z, of_weights


def sum_of_squares(z: Tensor) -> Tensor:
    """Return the sum of z^2 over the quadratures: (B, template, q, time) -> (B, template, time)."""
    total = z[:, :, 0].square()
    for row in range(1, z.shape[2]):
        total.addcmul_(z[:, :, row], z[:, :, row])
    return total


def of_quadratures(weights: Tensor) -> Tensor:
    """Return weights of components as factors of z: (template, K) -> (template, 2 K, 1)."""
    return weights.repeat_interleave(2, -1)[..., None]


def autocasts_safely(device_type: str) -> bool:
    """Return whether autocast is on with a type of float32's range; float16 would overflow."""
    enabled = torch.is_autocast_enabled(device_type)
    return enabled and torch.get_autocast_dtype(device_type) != torch.float16
