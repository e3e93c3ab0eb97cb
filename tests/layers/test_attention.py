"""Attention gates against their formulas."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from layers.attention import AttentionGate, Cbam1d, TripletAttention


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_attention_gate_by_formula() -> None:
    gate, x = AttentionGate(3).eval(), torch.randn(2, 5, 4, 6)
    pooled = torch.stack([x.max(1).values, x.mean(1)], 1)
    logits = nn.functional.conv2d(pooled, gate.conv.weight, padding=1) / math.sqrt(
        1 + gate.norm.eps
    )
    torch.testing.assert_close(gate(x), x * torch.sigmoid(logits))


def test_triplet_attention() -> None:
    layer = TripletAttention()
    assert count(layer) == 3 * (2 * 7 * 7 + 2)
    x = torch.randn(2, 5, 4, 6, requires_grad=True)
    assert layer(x).shape == x.shape
    layer(x).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in layer.parameters())


def test_triplet_attention_treats_the_axes_alike() -> None:
    """With one gate for all three views, exchanging axes before or after makes no difference."""
    layer = TripletAttention().eval()
    layer.channel_width = layer.channel_height = layer.height_width
    kernel = layer.height_width.conv.weight
    with torch.no_grad():
        kernel.copy_((kernel + kernel.transpose(-1, -2)) / 2)  # the gates see axes transposed
    x = torch.randn(2, 5, 4, 6)

    def exchange(x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)

    torch.testing.assert_close(exchange(layer(x)), layer(exchange(x)))


def test_cbam_by_formula(rng: np.random.Generator) -> None:
    gate = Cbam1d(8, reduction=2, kernel_size=3).double()
    x = rng.normal(size=(2, 8, 20))
    first, second = gate.channel[0], gate.channel[2]

    def shared(pooled: np.ndarray) -> np.ndarray:  # (2, 8)
        hidden = pooled @ first.weight[..., 0].detach().numpy().T + first.bias.detach().numpy()
        return np.maximum(hidden, 0) @ second.weight[..., 0].detach().numpy().T + (
            second.bias.detach().numpy()
        )

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    gated = x * sigmoid(shared(x.mean(-1)) + shared(x.max(-1)))[..., None]
    padded = np.pad(np.stack([gated.mean(1), gated.max(1)], 1), ((0, 0), (0, 0), (1, 1)))
    taps = gate.time.weight[0].detach().numpy()  # (2, 3)
    score = sum(padded[:, :, k : k + 20].transpose(0, 2, 1) @ taps[:, k] for k in range(3))
    expected = gated * sigmoid(score + gate.time.bias.item())[:, None]
    np.testing.assert_allclose(gate(torch.tensor(x)).detach().numpy(), expected, rtol=1e-12)
