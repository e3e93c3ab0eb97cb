"""SameConv1d beside a plain sum and torch; the initialisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models1d.convolutions import SameConv1d, reinitialise


def plain_same_conv(x: np.ndarray, w: np.ndarray, stride: int, dilation: int) -> np.ndarray:
    """Cross-correlation (B, C, T) with (C', C, K), by TensorFlow's rule for SAME padding."""
    length, size = x.shape[-1], w.shape[-1]
    columns = -(-length // stride)
    total = max((columns - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    left = total // 2
    out = np.zeros((x.shape[0], w.shape[0], columns))
    for column in range(columns):
        for tap in range(size):
            at = column * stride + tap * dilation - left
            if 0 <= at < length:
                out[:, :, column] += np.einsum("bc,oc->bo", x[:, :, at], w[:, :, tap])
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 8), (1, 64)])
@pytest.mark.parametrize("length", [1, 5, 16, 21])
def test_same_conv_equals_plain_sum(size, stride, dilation, length, rng) -> None:
    """Also where taps are left out because they only see padding."""
    conv = SameConv1d(2, 3, size, stride, dilation).double()
    x = rng.normal(size=(2, 2, length))
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    expected = plain_same_conv(x, weight, stride, dilation) + bias[:, None]
    result = conv(torch.tensor(x))
    # float64, at most 32 products in a sum
    np.testing.assert_allclose(result.detach().numpy(), expected, atol=1e-12)
    result.sum().backward()
    assert conv.weight.grad is not None


def test_same_conv_equals_torch() -> None:
    conv = SameConv1d(4, 6, 5, dilation=3, groups=2)
    torch_conv = nn.Conv1d(4, 6, 5, dilation=3, groups=2, padding="same")
    torch_conv.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 50)
    torch.testing.assert_close(conv(x), torch_conv(x))


def test_reinitialise() -> None:
    module = nn.Sequential(nn.Conv1d(64, 256, 9), nn.BatchNorm1d(256))
    nn.init.constant_(module[1].weight, 3.0)
    reinitialise(module)
    # He et al.: variance 2 / fan-in; 147,456 draws know their deviation to 0.2 %
    assert module[0].weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.01)
    assert torch.equal(module[1].weight, torch.ones(256))
