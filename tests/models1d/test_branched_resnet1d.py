"""BranchedResNet1d: shapes, shared branches, refinements, refused arguments."""

from __future__ import annotations

import pytest
import torch
from competition import window_of
from network_checks import check_classifier, check_gradients, check_mixing, count

from models1d import BRANCHED_SIZES, BranchedResNet1d
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError

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
        num_classes=2,
        branch_stages=stages,
        share_branches=share,
        activation="relu",
        observation=window_of(512, *COMPETITION.detectors[:detectors]),
        **SMALL,
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


def test_detectors_of_a_group_share_wherever_their_channels_are() -> None:
    """Groups by name, and by equal curves; a detector's features do not depend on its channel."""
    triangle = Observation(("ET1", "V1", "ET2"), window=0.25)
    assert BranchedResNet1d(**SMALL, observation=triangle).groups == [(0, 2), (1,)]
    by_name = {"share_branches": [["ET1", "V1"]], "observation": triangle}
    model = BranchedResNet1d(**SMALL, **by_name).eval()
    assert model.groups == [(0, 1), (2,)]
    model = BranchedResNet1d(**SMALL, observation=triangle).eval()
    assert len(model.branches) == 2
    x = torch.randn(1, 3, 512)
    changed = x.clone()
    changed[:, 1] += 1.0  # V1
    arranged = [torch.cat([y[:, :1], y[:, 2:], y[:, 1:2]], dim=1) for y in (x, changed)]
    before, after = (model.forward_branches(y).chunk(3, dim=1) for y in arranged)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]
    # the same network on the channels as they are: V1 goes to the second branch
    assert torch.equal(model.forward_features(x), model.stages(torch.cat(before, dim=1)))


def test_branches_see_one_detector_each() -> None:
    model = BranchedResNet1d(**SMALL, share_branches=False).eval()
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
        {"second_concat": True, "share_branches": False, "branch_stages": 2},
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
        ({"in_channels": 2}, "H1 L1 V1 at 2048 Hz, 2 s. has 3 detectors: leave it out"),
        ({"share_branches": [["H1", "K1"]]}, "'K1' is no detector of the observation"),
        ({"share_branches": [["H1", "L1"], ["L1"]]}, "'L1' is in two groups"),
        ({"share_branches": ["H1", "L1"]}, "expected true, false or groups"),
    ],
)
def test_branched_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BranchedResNet1d(**{**SMALL, **arguments})


@pytest.mark.parametrize("stages", [0, 1, 3])
@pytest.mark.parametrize("second_concat", [False, True])
@pytest.mark.parametrize("share", [True, False, [["H1", "V1"]]])
def test_detectors_are_apart_until_they_meet(stages: int, second_concat: bool, share) -> None:
    """What is computed of each detector alone is put together anew, as time slides need it."""
    if second_concat and stages != 1:
        pytest.skip("needs a branch stage and a joint one")
    observation = window_of(512, "H1", "L1", "V1")
    torch.manual_seed(0)
    model = BranchedResNet1d(
        branch_stages=stages,
        second_concat=second_concat,
        share_branches=share,
        observation=observation,
        **SMALL,
    ).eval()
    x = torch.randn(6, 3, 512)
    apart = model.forward_apart(x)
    assert apart.shape[:2] == (6, 3)
    torch.testing.assert_close(model.forward_joined(apart), model(x))
    # L1 of other rows beside H1 and V1 of these.
    slid = torch.stack([x[:, 0], x.roll(2, 0)[:, 1], x[:, 2]], dim=1)
    other = torch.stack([apart[:, 0], apart.roll(2, 0)[:, 1], apart[:, 2]], dim=1)
    torch.testing.assert_close(model.forward_joined(other), model(slid))
    assert not torch.allclose(model(slid), model(x))
