"""Losses against numpy written plainly in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import loss_functions
from loss_functions import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    FocalLoss,
    PartialAUCLoss,
    RankLoss,
    SmoothL1Loss,
    SquaredLoss,
)
from runtime.errors import UserError


def plain_bce(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    p = 1.0 / (1.0 + np.exp(-logits))
    return -(targets * np.log(p) + (1.0 - targets) * np.log(1.0 - p))


@pytest.fixture
def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(0, 3, (64, 1)), rng.integers(0, 2, (64, 1)).astype(float)


@pytest.mark.parametrize("smoothing", [0.0, 0.025, 0.2])
def test_bce_smooths_both_halves(batch, smoothing) -> None:
    logits, targets = batch
    expected = plain_bce(logits, np.where(targets == 1, 1 - smoothing / 2, smoothing / 2)).mean()
    loss = BCEWithLogitsLoss(smoothing)(torch.tensor(logits), torch.tensor(targets))
    assert loss.item() == pytest.approx(expected, rel=1e-6)  # float32 inside


@pytest.mark.parametrize("loss", [BCEWithLogitsLoss(0.1), FocalLoss(), RankLoss(0.5)])
def test_weights_count_rows(batch, loss: nn.Module) -> None:
    """Whole weights are as good as copies of the rows; those of 1 change nothing."""
    logits, targets = (torch.tensor(x) for x in batch)
    weights = torch.arange(64.0)[:, None] % 3
    copies = weights.flatten().long()
    repeated = [rows.repeat_interleave(copies, 0) for rows in (logits, targets)]
    # the mean is over the rows, not over the sum of the weights; pairs are a mean over their sum
    scale = len(repeated[0]) / 64
    of_rows = BCEWithLogitsLoss() if isinstance(loss, RankLoss) else loss
    expected = scale * of_rows(*repeated)
    if isinstance(loss, RankLoss):
        expected = 0.5 * expected + 0.5 * RankLoss(1.0)(*repeated)
    torch.testing.assert_close(loss(logits, targets, weights), expected, rtol=1e-5, atol=1e-6)
    plain = loss(logits, targets, torch.ones(64, 1))
    torch.testing.assert_close(plain, loss(logits, targets), rtol=1e-6, atol=0)


def test_smoothed_optimum_is_logit_of_smoothed_target() -> None:
    """Gradient vanishes at logit(0.9875) for ε = 0.025, not at logit(0.975)."""
    best = torch.tensor([[np.log(0.9875 / 0.0125)]], requires_grad=True)
    BCEWithLogitsLoss(0.025)(best, torch.ones(1, 1)).backward()
    assert abs(best.grad.item()) < 1e-7


def test_without_smoothing_equals_torch(batch) -> None:
    logits, targets = (torch.tensor(x, dtype=torch.float32) for x in batch)
    torch.testing.assert_close(
        BCEWithLogitsLoss()(logits, targets), nn.BCEWithLogitsLoss()(logits, targets)
    )


@pytest.mark.parametrize(("alpha", "gamma", "smoothing"), [(1, 2, 0), (0.25, 2, 0.1), (1, 0.5, 0)])
def test_focal(batch, alpha, gamma, smoothing) -> None:
    logits, targets = batch
    b = plain_bce(logits, targets * (1 - smoothing) + smoothing / 2)
    expected = (alpha * (1 - np.exp(-b)) ** gamma * b).mean()
    loss = FocalLoss(alpha, gamma, smoothing)(torch.tensor(logits), torch.tensor(targets))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_focal_with_gamma_zero_is_bce(batch) -> None:
    logits, targets = (torch.tensor(x, dtype=torch.float32) for x in batch)
    torch.testing.assert_close(
        FocalLoss(gamma=0)(logits, targets), BCEWithLogitsLoss()(logits, targets)
    )


@pytest.mark.parametrize("loss", [BCEWithLogitsLoss(0.025), FocalLoss(gamma=0.5), FocalLoss()])
def test_gradient_is_finite_for_extreme_logits(loss) -> None:
    logits = torch.tensor([[200.0], [-200.0], [0.0], [200.0]], requires_grad=True)
    loss(logits, torch.tensor([[1.0], [0.0], [1.0], [0.0]])).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[3] > 0


@pytest.mark.parametrize("loss", [BCEWithLogitsLoss(), FocalLoss()])
def test_half_logits_are_widened_and_flat_targets_do_not_broadcast(loss) -> None:
    logits, targets = torch.randn(8, 1), torch.randint(0, 2, (8,)).float()
    value = loss(logits.half(), targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.half().float(), targets[:, None]))


def test_refusals() -> None:
    with pytest.raises(UserError, match="one target for each logit"):
        BCEWithLogitsLoss()(torch.zeros(4, 1), torch.zeros(3))
    with pytest.raises(UserError, match="smoothing"):
        BCEWithLogitsLoss(1.5)
    with pytest.raises(UserError, match="gamma"):
        FocalLoss(gamma=-1)


# --- ranks ---


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_rank_loss_is_the_mean_over_pairs(batch, scale) -> None:
    logits, targets = batch
    positive, negative = logits[targets == 1], logits[targets == 0]
    pairs = np.log1p(np.exp(-(positive[:, None] - negative) / scale))
    expected = 0.7 * pairs.mean() + 0.3 * plain_bce(logits, targets).mean()
    loss = RankLoss(0.7, scale)(torch.tensor(logits), torch.tensor(targets))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_rank_loss_tends_to_one_minus_auc(batch) -> None:
    from sklearn.metrics import roc_auc_score

    logits, targets = batch
    scale = 1e-3  # softplus(x / scale) scale -> max(x, 0)
    loss = RankLoss(1.0, scale)(torch.tensor(logits), torch.tensor(targets))
    positive, negative = logits[targets == 1], logits[targets == 0]
    gaps = np.maximum(negative - positive[:, None], 0)
    assert loss.item() * scale == pytest.approx(gaps.mean(), rel=1e-2)
    assert (gaps > 0).mean() == pytest.approx(1 - roc_auc_score(targets, logits))


def test_rank_loss_of_one_class_is_the_cross_entropy_alone() -> None:
    logits = torch.randn(8, 1, requires_grad=True)
    loss = RankLoss(0.5)(logits, torch.ones(8, 1))
    expected = 0.5 * BCEWithLogitsLoss()(logits, torch.ones(8, 1))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad.isfinite().all()


def test_rank_loss_of_many_rows_takes_some(monkeypatch) -> None:
    monkeypatch.setattr(loss_functions, "MOST_RANKED", 50)
    logits, targets = torch.randn(120, 1), (torch.rand(120, 1) < 0.5).float()
    loss = RankLoss(1.0)
    torch.testing.assert_close(loss(logits, targets), loss(logits[::3], targets[::3]))


def test_rank_loss_refuses() -> None:
    with pytest.raises(UserError, match="scale"):
        RankLoss(scale=0.0)
    with pytest.raises(UserError, match="rank"):
        RankLoss(rank=1.5)
    with pytest.raises(UserError, match="one target for each"):
        RankLoss()(torch.zeros(3, 1), torch.zeros(2, 1))


def test_rank_loss_without_ranks_is_the_cross_entropy(batch) -> None:
    logits, targets = (torch.tensor(x) for x in batch)
    assert RankLoss(0.0)(logits, targets) == BCEWithLogitsLoss()(logits, targets)


# --- weights, classes, numbers, the loudest noise ---------------------------------------------


def test_pos_weight_multiplies_the_terms_of_signals(rng: np.random.Generator) -> None:
    logits, targets = rng.normal(0, 2, (20, 2)), rng.integers(0, 2, (20, 2)).astype(float)
    p = 1 / (1 + np.exp(-logits))
    weight = np.array([3.0, 0.5])
    expected = -(weight * targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    loss = BCEWithLogitsLoss(pos_weight=[3, 0.5])
    assert loss(torch.tensor(logits), torch.tensor(targets)).item() == pytest.approx(expected, 1e-5)
    assert not loss.state_dict()
    with pytest.raises(UserError, match="holds 2 numbers and the network has 1 outputs"):
        loss(torch.zeros(3, 1), torch.zeros(3, 1))
    for bad in (0, -1, [1, 0], [], ["a"]):
        with pytest.raises(UserError, match="pos_weight"):
            BCEWithLogitsLoss(pos_weight=bad)


def test_cross_entropy_equals_torch(rng: np.random.Generator) -> None:
    logits, number = torch.tensor(rng.normal(0, 2, (30, 4))), torch.arange(30) % 4
    hard = torch.eye(4)[number]
    given = {"rel": 1e-5}
    expected = nn.functional.cross_entropy(logits, number)
    assert CrossEntropyLoss()(logits, hard).item() == pytest.approx(expected.item(), **given)
    expected = nn.functional.cross_entropy(logits, number, label_smoothing=0.1)
    assert CrossEntropyLoss(0.1)(logits, hard).item() == pytest.approx(expected.item(), **given)
    soft = torch.tensor(rng.dirichlet(np.ones(4), 30))
    expected = nn.functional.cross_entropy(logits, soft)
    assert CrossEntropyLoss()(logits, soft).item() == pytest.approx(expected.item(), **given)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    each = nn.functional.cross_entropy(logits, number, reduction="none") * weights[number]
    found = CrossEntropyLoss(weights=weights.tolist())(logits, hard).item()
    assert found == pytest.approx(each.mean().item(), **given)
    with pytest.raises(UserError, match="as many outputs as there are targets"):
        CrossEntropyLoss()(logits, hard[:, :3])


def test_losses_of_numbers_equal_numpy(rng: np.random.Generator) -> None:
    outputs, targets = rng.normal(0, 2, (30, 2)), rng.normal(0, 2, (30, 2))
    both = torch.tensor(outputs), torch.tensor(targets)
    difference = np.abs(outputs - targets)
    assert SquaredLoss()(*both).item() == pytest.approx((difference**2).mean(), rel=1e-5)
    smooth = np.where(difference < 0.5, difference**2, difference - 0.25)
    assert SmoothL1Loss(0.5)(*both).item() == pytest.approx(smooth.mean(), rel=1e-5)
    with pytest.raises(UserError, match="beta"):
        SmoothL1Loss(0)


def test_partial_auc_loss_compares_signals_with_the_loudest_noise(rng: np.random.Generator) -> None:
    scores, labels = rng.normal(0, 2, 100), np.arange(100) % 2
    noise = np.sort(scores[labels == 0])[-5:]  # a tenth of 50
    pairs = np.log1p(np.exp((noise - scores[labels == 1][:, None]) / 0.7))
    cross_entropy = (np.log1p(np.exp(scores)) - labels * scores).mean()
    expected = 0.25 * cross_entropy + 0.75 * pairs.mean()
    given = torch.tensor(scores)[:, None].requires_grad_()
    loss = PartialAUCLoss(0.1, rank=0.75, scale=0.7)(given, torch.tensor(labels)[:, None])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    # With all noise it is the loss of RankLoss.
    everything = PartialAUCLoss(1.0)(given, torch.tensor(labels)[:, None]).item()
    of_ranks = RankLoss()(given, torch.tensor(labels)[:, None].float()).item()
    assert everything == pytest.approx(of_ranks, rel=1e-5)
    assert PartialAUCLoss(rank=0).is_mean_over_rows
    assert not PartialAUCLoss().is_mean_over_rows
    one_class = PartialAUCLoss(rank=1.0)(given.detach(), torch.ones(100, 1))
    assert one_class.item() == 0
    for bad in ({"max_fpr": 0}, {"rank": 2}, {"scale": 0}):
        with pytest.raises(UserError, match=next(iter(bad))):
            PartialAUCLoss(**bad)
