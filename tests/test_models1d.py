"""Networks on the waveform: shape, parameter count, gradients, mixing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models1d import BranchedResNet1d
from utils import UserError


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
    ("arguments", "message"),
    [
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
