"""Generalised means against numpy; pooling over time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from layers.pooling import GeM, GeMPool1d, GlobalPool1d
from runtime.errors import UserError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_gem_equals_numpy(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 5, 4, 6))
    layer = GeM(eps=1e-4)
    assert count(layer) == 1
    expected = (np.maximum(x, 1e-4) ** 3).mean((2, 3)) ** (1 / 3)
    result = layer(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5)  # float32


def test_gem_between_average_and_maximum() -> None:
    x = torch.rand(3, 4, 8, 8)
    torch.testing.assert_close(GeM(p=1.0)(x), x.mean((-2, -1)))
    torch.testing.assert_close(GeM(p=300.0)(x), x.amax((-2, -1)), rtol=0.02, atol=0)


def test_gem_of_one_axis() -> None:
    x = torch.rand(2, 3, 4, 5)
    row = GeM(dims=(-2,), keepdim=True)(x)
    assert row.shape == (2, 3, 1, 5)
    torch.testing.assert_close(row[:, :, 0, 2], GeM(dims=(-1,))(x[:, :, :, 2]))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e-6, 1e3])
def test_gem_gradient_is_finite(value: float) -> None:
    layer, x = GeM(), torch.full((1, 2, 3, 3), value, requires_grad=True)
    layer(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.p.grad).all()


def test_gem_under_autocast_does_not_overflow() -> None:
    x = torch.full((1, 1, 4, 4), 100.0).half()  # its cube overflows half precision
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = GeM()(x)
    assert result.dtype == torch.float16
    assert result.item() == pytest.approx(100, rel=1e-3)


def test_gem_pool_1d(rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 1, (2, 3, 11))
    expected = (x[..., :8].reshape(2, 3, 2, 4) ** 3).mean(-1) ** (1 / 3)
    result = GeMPool1d(4)(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5)


def test_global_pool_1d() -> None:
    x = torch.randn(2, 3, 7)
    torch.testing.assert_close(GlobalPool1d("avg")(x), x.mean(-1))
    torch.testing.assert_close(GlobalPool1d("max")(x), x.max(-1).values)
    both = torch.cat([x.max(-1).values, x.mean(-1)], 1)
    torch.testing.assert_close(GlobalPool1d("concat")(x), both)
    assert GlobalPool1d("concat").width(3) == both.shape[1]
    torch.testing.assert_close(GlobalPool1d("gem")(x), GeM(dims=(-1,))(x))
    with pytest.raises(UserError, match="'avg', 'max', 'concat', 'gem'"):
        GlobalPool1d("median")
