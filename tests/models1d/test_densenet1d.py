"""DenseNet1d: published parameter counts, shapes, options."""

from __future__ import annotations

import pytest
import torch
from network_checks import check_classifier, check_gradients, check_mixing, count

from models1d import DenseNet1d, densenet121_1d, densenet201_1d
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("build", "published", "width"),
    [(densenet121_1d, 5_531_649, 1024), (densenet201_1d, 15_695_361, 1920)],
)
def test_densenet1d_published_counts(build, published: int, width: int) -> None:
    model = build()
    assert count(model) == published
    assert model.num_features == width


def test_densenet121_1d_shapes() -> None:
    model = densenet121_1d(num_classes=2)
    x = torch.randn(2, 3, 4096)
    assert model.features[:4](x).shape == (2, 64, 1024)
    assert model.forward_features(x).shape == (2, 1024, 128)
    assert model(x).shape == (2, 2)


@pytest.mark.parametrize("bottleneck", [0, 4])
@pytest.mark.parametrize("first", [7, 15])
def test_densenet1d_options(bottleneck: int, first: int) -> None:
    model = DenseNet1d(
        8, (2, 3), 16, bottleneck_size=bottleneck, first_kernel_size=first, kernel_size=5
    )
    x = torch.randn(2, 3, 512)
    width = (16 + 2 * 8) // 2 + 3 * 8
    assert model.forward_features(x).shape == (2, width, 512 // 8)
    check_gradients(model, x)
    check_mixing(model, x)
    check_classifier(model, x, width)
    with pytest.raises(UserError, match="at least one block"):
        DenseNet1d(block_config=())
