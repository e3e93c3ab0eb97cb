"""Resizing by matrices, for a GPU that is to repeat itself, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from layers.resampling import average_to, interpolate, resize


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def with_gradient(call, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    y = call(x)
    (y**2).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("size", [(40, 33), (7, 50), (20, 30)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_images(deterministic, mode, size) -> None:
    image = torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    got = with_gradient(lambda x: resize(x, size, mode), image)
    expected = with_gradient(lambda x: interpolate(x, size, mode), image)
    # sums of at most some tens of terms of one, in float32
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert resize(image.bfloat16(), size, mode).dtype == torch.bfloat16


@pytest.mark.parametrize("size", [1, 8, 25, 60])
def test_series(deterministic, size) -> None:
    x = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(1))
    got = with_gradient(lambda x: average_to(x, size), x)
    expected = with_gradient(lambda x: F.adaptive_avg_pool1d(x, size), x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_otherwise_torch_does_it() -> None:
    image = torch.randn(1, 2, 9, 9)
    expected = F.interpolate(image, (5, 6), mode="bicubic", align_corners=False)
    assert torch.equal(resize(image, (5, 6), "bicubic"), expected)
    assert torch.equal(average_to(image[0], 4), F.adaptive_avg_pool1d(image[0], 4))


def test_torch_s_own_are_not_asked(deterministic, monkeypatch) -> None:
    """Neither of what a GPU refuses when it is to repeat itself."""
    from layers.resampling import resampling_matrix

    image = torch.randn(1, 2, 9, 9)
    resampling_matrix.cache_clear()
    for mode in ("bilinear", "bicubic", "area"):
        resize(image, (5, 6), mode)  # makes the matrices
    average_to(image[0], 4)
    for name in ("interpolate", "adaptive_avg_pool1d"):
        monkeypatch.setattr(F, name, None)
    for mode in ("bilinear", "bicubic", "area"):
        assert resize(image, (5, 6), mode).shape == (1, 2, 5, 6)
    assert average_to(image[0], 4).shape == (2, 9, 4)
    assert resampling_matrix.cache_info().hits >= 7
