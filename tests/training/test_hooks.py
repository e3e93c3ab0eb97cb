"""Hooks: mixed rows, mixed targets and the losses, against the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from toy import noise_batch

from layers.mixing import mix_rows
from loss_functions import BCEWithLogitsLoss
from runtime.errors import UserError
from training.hooks import MixupTrain, MixupTrain2, TrainHook, draw_beta

BCE = nn.BCEWithLogitsLoss()


class Mean(nn.Module):
    """Logits are the mean of each row, after mixing; the model's own λ is the one given."""

    def forward(self, x: torch.Tensor, lam=None, idx=None):
        if lam is None:
            return x.mean((1, 2))[:, None]
        return mix_rows(x, lam, idx).mean((1, 2))[:, None], lam


def test_plain_hook() -> None:
    batch = noise_batch()
    loss, logits, target = TrainHook().forward_train(Mean(), batch, BCE)
    torch.testing.assert_close(loss, BCE(batch["waveform"].mean((1, 2))[:, None], batch["target"]))
    assert target is batch["target"]
    assert logits.shape == (16, 1)


def weighted_bce(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    losses = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * weights).mean()


def test_weights_reach_the_loss_and_are_mixed_with_their_rows() -> None:
    batch = {**noise_batch(), "weight": torch.rand(16, 1)}
    mean = batch["waveform"].mean((1, 2))[:, None]
    loss, _, _ = TrainHook().forward_train(Mean(), batch, BCEWithLogitsLoss())
    torch.testing.assert_close(loss, weighted_bce(mean, batch["target"], batch["weight"]))
    torch.manual_seed(5)
    loss, _, _ = MixupTrain().forward_train(Mean(), batch, BCEWithLogitsLoss())
    torch.manual_seed(5)
    partner, lam = torch.randperm(16), draw_beta(0.4, 16, torch.device("cpu"))[:, None]
    mixed = [lam * x + (1 - lam) * x[partner] for x in (mean, batch["target"], batch["weight"])]
    torch.testing.assert_close(loss, weighted_bce(*mixed))


def test_beta_draws_have_the_right_moments() -> None:
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)); 40,000 draws know both to 1 %.
    for alpha in (0.1, 0.4, 2.0):
        draws = draw_beta(alpha, 40_000, torch.device("cpu"))
        assert draws.min() >= 0
        assert draws.max() <= 1
        assert draws.mean().item() == pytest.approx(0.5, abs=0.01)
        assert draws.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("level", ["model", "waveform"])
@pytest.mark.parametrize(
    ("options", "target_of"),
    [
        ({}, lambda t, u, lam: lam * t + (1 - lam) * u),
        ({"lor_label": True}, lambda t, u, lam: torch.maximum(t, u)),
        ({"hard_label": 0.3}, lambda t, u, lam: (lam * t + (1 - lam) * u > 0.3).float()),
    ],
)
def test_mixup_against_the_formula(level: str, options: dict, target_of) -> None:
    batch = noise_batch()
    torch.manual_seed(5)
    loss, _, scored = MixupTrain(level=level, **options).forward_train(Mean(), batch, BCE)
    torch.manual_seed(5)
    partner = torch.randperm(16)
    lam = draw_beta(0.4, 16, torch.device("cpu"))[:, None]
    mean = batch["waveform"].mean((1, 2))[:, None]
    expected = target_of(batch["target"], batch["target"][partner], lam)
    torch.testing.assert_close(loss, BCE(lam * mean + (1 - lam) * mean[partner], expected))
    assert scored is None
    assert batch["target"].unique().tolist() == [0, 1]  # the batch itself is untouched


def test_mixup2_stays_within_classes() -> None:
    target = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 0.5])[:, None]
    hook = MixupTrain2()
    for _ in range(20):
        partner = hook.partners(target)
        assert torch.equal(target[partner], target)
        assert sorted(partner.tolist()) == list(range(9))
        assert partner[8] == 8  # a soft target is mixed with itself
    assert MixupTrain2(pos_pos=False).partners(target)[4:8].tolist() == [4, 5, 6, 7]


def test_hooks_refuse_bad_options() -> None:
    for options in ({"alpha": 0}, {"hard_label": True}, {"level": "pixel"}):
        with pytest.raises(UserError, match=next(iter(options))):
            MixupTrain(**options)


def test_waveform_mixup_mixes_both_views_alike() -> None:
    seen = {}

    def model(first: Tensor, second: Tensor) -> Tensor:
        seen["first"], seen["second"] = first, second
        return first.mean((1, 2))[:, None].requires_grad_()

    batch = noise_batch(6)
    batch["waveform2"] = 3 * batch["waveform"]
    MixupTrain(level="waveform").forward_train(model, batch, BCE)
    torch.testing.assert_close(seen["second"], 3 * seen["first"])
    assert not torch.equal(seen["first"], batch["waveform"])
