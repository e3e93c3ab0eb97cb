"""ResNet1d: published parameter counts, shapes, shortcuts, options."""

from __future__ import annotations

import pytest
import torch
from network_checks import check_classifier, check_gradients, check_mixing, count
from torch import nn

from models1d import ResNet1d
from models1d.resnet1d import PreActivationBlock1d, ResNet1dBody
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("filters", "groups", "dropout", "published", "width"),
    [(64, 64, 0.2, 680_257, 512), (32, 32, 0.0, 340_129, 256), (128, 32, 0.0, 5_280_385, 1024)],
)
def test_resnet1d_published_counts(filters, groups, dropout, published, width) -> None:
    """Seq00, Seq02, Seq03: less by the batch norm of block 0 that no data ever passed."""
    model = ResNet1d(3, filters, kernel_size=16, groups=groups, n_block=16, dropout=dropout)
    assert count(model) == published - 2 * filters
    assert model.num_features == width


def test_resnet1d() -> None:
    model = ResNet1d(3, 32, kernel_size=16, groups=32, dropout=0.1)
    x = torch.randn(2, 3, 4096)
    assert model.forward_features(x).shape == (2, 256, 16)
    check_gradients(model, x)
    check_mixing(model, x)
    check_classifier(model, x, 256)


def test_resnet1d_widths_and_lengths_by_block() -> None:
    model = ResNet1d(3, 16, kernel_size=4, groups=16)
    x = model.body.stem(torch.randn(2, 3, 4096))
    shapes = []
    for block in model.body.blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert [c for c, _ in shapes] == [16] * 4 + [32] * 4 + [64] * 4 + [128] * 4
    assert [t for _, t in shapes] == [4096 // 2 ** ((i + 1) // 2) for i in range(16)]


@pytest.mark.parametrize("length", [64, 63, 65])
def test_resnet1d_odd_lengths(length: int) -> None:
    assert ResNet1d(3, 8, 5, groups=8, n_block=4)(torch.randn(2, 3, length)).shape == (2, 1)


def test_resnet1d_shortcut_pools_and_pads_channels_evenly() -> None:
    block = PreActivationBlock1d(4, 8, 3, 2, 4, True, 0.0, nn.ReLU, first=False).eval()
    nn.init.zeros_(block.body[-1].weight)
    nn.init.zeros_(block.body[-1].bias)
    x = torch.randn(1, 4, 10)
    expected = torch.zeros(1, 8, 5)
    expected[:, 2:6] = x.unflatten(-1, (5, 2)).amax(-1)
    torch.testing.assert_close(block(x), expected)


def test_resnet1d_options() -> None:
    model = ResNet1d(
        3, 8, 5, groups=4, n_block=6, use_bn=False, final_act=False, reinit=True, activation="silu"
    )
    assert not any(isinstance(m, nn.BatchNorm1d) for m in model.modules())
    assert model.forward_features(torch.randn(2, 3, 128)).min() < 0
    with pytest.raises(UserError, match="multiple of groups"):
        ResNet1d(3, 20, 5, groups=16)


def test_resnet1d_body_as_front_end() -> None:
    """ResNetSpectrogram's defaults: published 23,808, of which 64 in the dead batch norm."""
    body = ResNet1dBody(3, 32, 3, downsample_gap=8, increasefilter_gap=6, dropout=0.0)
    assert count(body) == 23_808 - 64
    assert body(torch.randn(2, 3, 4096)).shape == (2, 128, 1024)
