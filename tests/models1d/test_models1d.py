"""Networks on the waveform: shape, parameter count, gradients, mixing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models1d import (
    BRANCHED_SIZES,
    BranchedResNet1d,
    CNN1d,
    DenseNet1d,
    ResNet1d,
    WaveNet1d,
    densenet121_1d,
    densenet201_1d,
)
from models1d.convolutions import SameConv1d, reinitialise
from models1d.resnet1d import PreActivationBlock1d, ResNet1dBody
from models1d.wavenet1d import SimplifiedWaveBlock, WaveBlock
from runtime.errors import UserError


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check_gradients(model: nn.Module, x: Tensor) -> None:
    """Every trainable parameter has a finite gradient, and none of them is zero throughout."""
    model.train()
    torch.nn.functional.softplus(model(x)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    largest = {n: p.grad.abs().max().item() for n, p in model.named_parameters()}
    assert all(value > 0 for value in largest.values()), min(largest, key=largest.get)


def check_classifier(model: nn.Module, x: Tensor, width: int) -> None:
    """get_classifier and reset_classifier, and features of the stated width."""
    model.eval()
    assert model.get_classifier().in_features == width
    model.reset_classifier(4)
    assert model(x).shape == (len(x), 4)
    model.reset_classifier(0)
    assert model(x).shape == (len(x), width)


def check_mixing(model: nn.Module, x: Tensor) -> None:
    """lam and idx mix the waveforms, and lam comes back."""
    model.eval()
    lam, idx = torch.tensor([0.25, 0.9]), torch.tensor([1, 0])
    logits, used = model(x, lam=lam, idx=idx)
    mixed = torch.stack([0.25 * x[0] + 0.75 * x[1], 0.9 * x[1] + 0.1 * x[0]])
    torch.testing.assert_close(logits, model(mixed))
    torch.testing.assert_close(used, lam)
    with pytest.raises(UserError, match="both"):
        model(x, lam=lam)


# --- BranchedResNet1d ------------------------------------------------------------------------


SMALL = {
    "widths": (8, 16, 24),
    "depths": (1, 2, 1),
    "kernel_sizes": (9, 5, 3),
    "strides": (2, 2, 2),
}


@pytest.mark.parametrize("downsampling", ["stride", "avg", "max", "gem"])
@pytest.mark.parametrize("pooling", ["avg", "max", "concat", "gem"])
def test_branched_shapes_and_gradients(downsampling: str, pooling: str) -> None:
    model = BranchedResNet1d(**SMALL, downsampling=downsampling, pooling=pooling)
    x = torch.randn(2, 3, 1024)
    assert model(x).shape == (2, 1)
    assert model.forward_features(x).shape == (2, 24, 1024 // 64)
    check_gradients(model, x)
    check_classifier(model, x, 48 if pooling == "concat" else 24)


@pytest.mark.parametrize("stages", [0, 1, 3])
@pytest.mark.parametrize("detectors", [1, 2, 3])
@pytest.mark.parametrize("share", [True, False])
def test_branched_branches(stages: int, detectors: int, share: bool) -> None:
    model = BranchedResNet1d(
        detectors, num_classes=2, branch_stages=stages, share_ligo=share, activation="relu", **SMALL
    )
    assert len(model.branches) == (detectors - 1 if share and detectors > 1 else detectors)
    x = torch.randn(2, detectors, 512)
    assert model(x).shape == (2, 2)
    check_gradients(model, x)


@pytest.mark.parametrize("length", [4096, 2048, 1000, 777])
def test_branched_takes_any_length(length: int) -> None:
    assert BranchedResNet1d(**SMALL)(torch.randn(2, 3, length)).shape == (2, 1)


def test_branched_default_is_small() -> None:
    model = BranchedResNet1d()
    assert 100_000 < count(model) < 200_000
    check_gradients(model, torch.randn(2, 3, 4096))
    check_mixing(model, torch.randn(2, 3, 4096))


def test_ligo_detectors_share_and_virgo_does_not() -> None:
    """Exchanging H1 and L1 exchanges their features; V1 through the LIGO branch gives others."""
    model = BranchedResNet1d(**SMALL, branch_stages=1).eval()
    x = torch.randn(2, 3, 1024)
    h1, l1, v1 = model.forward_branches(x).chunk(3, dim=1)
    l1_first, h1_second, v1_same = model.forward_branches(x[:, [1, 0, 2]]).chunk(3, dim=1)
    torch.testing.assert_close(l1_first, l1)
    torch.testing.assert_close(h1_second, h1)
    torch.testing.assert_close(v1_same, v1)
    v1_as_ligo = model.forward_branches(x[:, [2, 1, 0]])[:, : h1.shape[1]]
    assert (v1_as_ligo - v1).abs().max() > 1e-3


def test_branches_see_one_detector_each() -> None:
    model = BranchedResNet1d(**SMALL, share_ligo=False).eval()
    x = torch.randn(1, 3, 512)
    changed = x.clone()
    changed[:, 1] += 1.0
    before = model.forward_branches(x).chunk(3, dim=1)
    after = model.forward_branches(changed).chunk(3, dim=1)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    "arguments",
    [
        {"second_concat": True},
        {"second_concat": True, "share_ligo": False, "branch_stages": 2},
        {"attention": "cbam"},
        {"drop_path": 0.3},
        {"pooling": "gem", "downsampling": "avg"},
    ],
    ids=str,
)
def test_branched_refinements(arguments: dict) -> None:
    model = BranchedResNet1d(**SMALL, **arguments)
    x = torch.randn(4, 3, 777)
    assert model(x).shape == (4, 1)
    check_gradients(model, x)


def test_the_second_concatenation_sees_one_detector_a_branch() -> None:
    plain = BranchedResNet1d(**SMALL)
    model = BranchedResNet1d(**SMALL, second_concat=True).eval()
    own, width = SMALL["widths"][0], SMALL["widths"][1]
    block = model.stages[1][0].body[0][0]  # the first convolution behind the concatenation
    assert block.in_channels == width + 3 * own
    assert count(model) > count(plain)
    x = torch.randn(1, 3 * own, 64)
    changed = x.clone()
    changed[:, own : 2 * own] += 1
    before, after = (model.forward_branches(y, model.late_branches) for y in (x, changed))
    same = [torch.equal(a, b) for a, b in zip(before.chunk(3, 1), after.chunk(3, 1), strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize("size", BRANCHED_SIZES)
def test_branched_sizes(size: str) -> None:
    model = BranchedResNet1d(**BRANCHED_SIZES[size])
    least, most = {"small": (1e5, 3e5), "base": (5e5, 2e6), "large": (2e6, 1e7)}[size]
    assert least < count(model) < most
    check_gradients(model, torch.randn(2, 3, 2048))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"second_concat": True, "branch_stages": 0}, "second_concat"),
        ({"attention": "cbm"}, "did you mean 'cbam'"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"widths": (8, 16)}, "as many numbers as stages"),
        ({"branch_stages": 4}, "branch_stages"),
        ({"kernel_sizes": (8, 5, 3)}, "odd"),
        ({"strides": (0, 2, 2)}, "at least 1"),
        ({"activation": "sillu"}, "did you mean 'silu'"),
        ({"pooling": "mean"}, "pooling"),
        ({"downsampling": "pool"}, "downsampling"),
    ],
)
def test_branched_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BranchedResNet1d(**{**SMALL, **arguments})


# --- convolutions ----------------------------------------------------------------------------


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


# --- ResNet1d --------------------------------------------------------------------------------


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


# --- DenseNet1d ------------------------------------------------------------------------------


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


# --- WaveNet1d and CNN1d -----------------------------------------------------------------------


SEQ12ARCH4 = {
    "hidden_dims": (128, 128, 256, 256, 512, 512, 1024, 1024),
    "wave_block": "simplified",
    "reinit": False,
    "downsample": True,
    "kernel_size": 16,
    "wave_layers": (12, 10, 8, 8, 6, 6, 4, 2),
}


def test_wavenet1d_published_counts() -> None:
    assert count(WaveNet1d()) == 322_369
    seq12 = WaveNet1d(
        hidden_dims=(128, 256, 512, 1024), wave_block="simplified", downsample=True, reinit=True
    )
    assert count(seq12) == 13_384_449
    assert seq12.num_features == 1024
    with torch.device("meta"):  # 763 MB otherwise
        arch4 = WaveNet1d(**SEQ12ARCH4)
    assert count(arch4) == 190_756_737


def test_cnn1d_published_count() -> None:
    model = CNN1d()
    assert count(model) == 8_561
    x = torch.randn(2, 3, 4096)
    assert model.forward_features(x).shape == (2, 64, 4096)
    check_gradients(model, x)
    check_mixing(model, x)
    check_classifier(model, x, 64)


@pytest.mark.parametrize("block", ["gated", "none", "simplified"])
def test_wavenet1d(block: str) -> None:
    model = WaveNet1d(
        hidden_dims=(8, 16, 24),
        wave_layers=(6, 4, 2),
        wave_block=block,
        downsample=(False, True, 4),
        reinit=True,
        activation="silu",
    )
    x = torch.randn(2, 3, 512)
    assert model.forward_features(x).shape == (2, 24, 64)
    check_gradients(model, x)
    check_mixing(model, x)
    check_classifier(model, x, 24)


def test_gated_block_equals_its_formula() -> None:
    block = WaveBlock(3, 4, 3, kernel_size=3)
    x = torch.randn(2, 3, 40)
    step = total = torch.nn.functional.conv1d(x, block.entry.weight, block.entry.bias)
    for i, layer in enumerate(block.layers):
        both = torch.nn.functional.conv1d(
            step, layer.gate.weight, layer.gate.bias, padding=2**i, dilation=2**i
        )
        step = layer.mix(torch.tanh(both[:, :4]) * torch.sigmoid(both[:, 4:]))
        total = total + step
    torch.testing.assert_close(block(x), total)


@pytest.mark.parametrize("kind", [WaveBlock, SimplifiedWaveBlock])
@pytest.mark.parametrize(("downsample", "columns"), [(False, 64), (True, 32), (1, 64), (4, 16)])
def test_wave_blocks_divide_the_length(kind, downsample, columns) -> None:
    block = kind(3, 8, 2, downsample=downsample)
    assert block(torch.randn(2, 3, 64)).shape == (2, 8, columns)


@pytest.mark.parametrize("wave_block", ["Simplified", "gate", ""])
def test_unknown_wave_block(wave_block: str) -> None:
    with pytest.raises(UserError, match="'gated', 'none', 'simplified'"):
        WaveNet1d(wave_block=wave_block)


def test_wavenet1d_refuses_lists_that_do_not_match() -> None:
    with pytest.raises(UserError, match="one number a block"):
        WaveNet1d(hidden_dims=(8, 16))
