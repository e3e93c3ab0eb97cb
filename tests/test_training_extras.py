"""Hooks, callbacks, weight averages and views, each against a plain calculation."""

from __future__ import annotations

import types

import pytest
import torch
from torch import Tensor, nn

from experiments.settings import PEAKS
from physics.noise import NoiseGenerator
from runtime.errors import UserError
from training_extras import (
    EarlyStopping,
    EpochVerdict,
    KeepLast,
    MixupTrain,
    MixupTrain2,
    Preparation,
    TrainHook,
    WeightAverage,
    draw_beta,
    find_views,
    make_shift,
    mix_rows,
    prepare_views,
)
from transforms import AlignPhase, Compose, GetDiff, MinMaxScaler, Normalize, Whiten

BCE = nn.BCEWithLogitsLoss()


class Mean(nn.Module):
    """Logits are the mean of each row, after mixing; the model's own λ is the one given."""

    def forward(self, x: torch.Tensor, lam=None, idx=None):
        if lam is None:
            return x.mean((1, 2))[:, None]
        return mix_rows(x, lam, idx).mean((1, 2))[:, None], lam


def batch_of(n: int = 16) -> dict[str, torch.Tensor]:
    return {
        "waveform": torch.randn(n, 3, 32),
        "target": (torch.arange(n) % 2).float()[:, None],
        "index": torch.arange(n),
    }


def test_plain_hook() -> None:
    batch = batch_of()
    loss, logits, target = TrainHook().forward_train(Mean(), batch, BCE)
    torch.testing.assert_close(loss, BCE(batch["waveform"].mean((1, 2))[:, None], batch["target"]))
    assert target is batch["target"]
    assert logits.shape == (16, 1)


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
    batch = batch_of()
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


def run_callback(
    callback: EarlyStopping | KeepLast, scores: list[float]
) -> tuple[list[bool], int | None]:
    state = types.SimpleNamespace(epoch=0, best_score=None, best_epoch=None, history=[])
    best = []
    for score in scores:
        state.epoch += 1
        state.history.append({"valid_metric": score})
        verdict = callback.on_epoch_end(state)
        best.append(verdict.is_best)
        if verdict.stop_reason:
            return best, state.epoch
    return best, None


def test_early_stopping_counts_strict_improvements() -> None:
    best, stopped = run_callback(
        EarlyStopping(patience=2, maximize=True), [0.5, 0.6, 0.6, 0.7, 0.65, 0.7, 0.9]
    )
    assert best == [True, True, False, True, False, False]
    assert stopped == 6


def test_early_stopping_minimises_skips_and_survives_nan() -> None:
    best, stopped = run_callback(
        EarlyStopping(patience=2, skip_epoch=3), [float("nan"), 0.9, 1.0, 1.1, 1.2]
    )
    assert best == [False, True, False, False, False]
    assert stopped == 5


def test_keep_last_keeps_every_epoch_for_the_next_to_replace() -> None:
    state_of_best = []

    class Noted(KeepLast):
        def on_epoch_end(self, state) -> EpochVerdict:
            verdict = super().on_epoch_end(state)
            state_of_best.append((state.best_epoch, state.best_score))
            return verdict

    best, stopped = run_callback(Noted(), [0.5, 0.9, 0.6])
    assert (best, stopped) == ([True, True, True], None)
    assert state_of_best == [(1, 0.5), (2, 0.9), (3, 0.6)]


def test_early_stopping_resumes_its_count() -> None:
    first = EarlyStopping(patience=3, maximize=True)
    run_callback(first, [0.5, 0.4, 0.4])
    second = EarlyStopping(patience=3, maximize=True)
    second.load_state_dict(first.state_dict())
    assert second.counter == 2


def test_weight_average_against_a_plain_loop() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.9)
    expected = {k: v.clone().double() for k, v in model.state_dict().items()}
    for step in range(30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 3))
        average.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                expected[key] = decay * expected[key] + (1 - decay) * value.double()
            else:
                expected[key] = value.double()
    for key, value in average.model.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)
    copy = WeightAverage(model, 0.9)
    copy.load_state_dict(average.state_dict())
    assert copy.updates == 30


def views_of(batch: dict, names: list[str], preparation=dict, **options) -> list[dict]:
    return list(prepare_views(find_views(names, **options), batch, preparation))


def test_views() -> None:
    batch = batch_of(4)
    x = batch["waveform"]
    flip, swap, late, early = (
        view["waveform"] for view in views_of(batch, ["flip", "swap_ligo", "shift+5", "shift-5"])
    )
    assert torch.equal(flip, -x)
    assert torch.equal(swap[:, 0], x[:, 1])
    assert torch.equal(swap[:, 2], x[:, 2])
    assert torch.equal(late[..., 5:], x[..., :-5])
    assert not late[..., :5].any()
    assert torch.equal(early[..., :-5], x[..., 5:])
    assert not early[..., -5:].any()
    assert torch.equal(batch["waveform"], x)


@pytest.mark.parametrize(
    "transform", [GetDiff(), Normalize(PEAKS), AlignPhase(5), MinMaxScaler(), Whiten(decimate=2)]
)
def test_a_view_is_of_the_strain_and_not_of_what_transforms_make_of_it(transform) -> None:
    """The exchange of two channels after `GetDiff` is no exchange of detectors."""
    strain = 1e-20 * torch.randn(2, 3, 4096)
    preparation = Preparation(Compose([transform]))
    flip, swap = views_of({"waveform": strain}, ["flip", "swap_ligo"], preparation)
    for view, changed in ((flip, -strain), (swap, strain[:, [1, 0, 2]])):
        assert torch.equal(view["waveform"], preparation({"waveform": changed})["waveform"])


def test_a_shift_leaves_a_gap_of_silence_in_whitened_noise() -> None:
    strain = NoiseGenerator().sample(2, torch.Generator().manual_seed(0))
    preparation = Preparation(Whiten(decimate=2))
    (late,) = views_of({"waveform": strain}, ["shift+8"], preparation)
    whitened = preparation({"waveform": strain})["waveform"]
    assert torch.equal(late["waveform"][..., 8:], whitened[..., :-8])
    assert late["waveform"].abs().max() < 6
    # Done to the strain, the edge of the gap would be the loudest thing in the sample.
    assert preparation({"waveform": make_shift(8)(strain)})["waveform"].abs().max() > 30


def test_the_exchange_is_of_strain_also_where_the_data_set_has_divided_it() -> None:
    strain = 1e-20 * torch.randn(2, 3, 64)
    factor = torch.tensor(PEAKS)[:, None]
    (swap,) = views_of({"waveform": strain / factor}, ["swap_ligo"], norm_factor=PEAKS)
    torch.testing.assert_close(swap["waveform"], strain[:, [1, 0, 2]] / factor)


def test_views_of_the_same_strain_share_its_transforms() -> None:
    calls = []

    def preparation(batch: dict) -> dict:
        calls.append(1)
        return batch

    views = views_of(batch_of(4), ["identity", "shift+1", "flip", "shift-1"], preparation)
    assert len(views) == 4
    assert len(calls) == 2  # of the strain, and of the strain turned over


def test_a_second_view_of_the_same_strain() -> None:
    batch = batch_of(4)
    x = batch["waveform"]
    two = Preparation(lambda strain: 2 * strain, lambda strain: strain - 1)(batch)
    assert torch.equal(two["waveform"], 2 * x)
    assert torch.equal(two["waveform2"], x - 1)  # of the strain, not of the first view
    assert torch.equal(batch["waveform"], x)
    assert "waveform2" not in Preparation(torch.neg)(batch)
    first, second = TrainHook().inputs(two)
    assert torch.equal(first, 2 * x)
    assert torch.equal(second, x - 1)
    # A test-time view is of the strain that both are made of; a shift moves both.
    preparation = Preparation(lambda strain: 2 * strain, lambda strain: strain - 1)
    flip, late = views_of(batch, ["flip", "shift+3"], preparation)
    assert torch.equal(flip["waveform"], -2 * x)
    assert torch.equal(flip["waveform2"], -x - 1)
    for key in ("waveform", "waveform2"):
        assert torch.equal(late[key][..., 3:], two[key][..., :-3])


def test_waveform_mixup_mixes_both_views_alike() -> None:
    seen = {}

    def model(first: Tensor, second: Tensor) -> Tensor:
        seen["first"], seen["second"] = first, second
        return first.mean((1, 2))[:, None].requires_grad_()

    batch = batch_of(6)
    batch["waveform2"] = 3 * batch["waveform"]
    MixupTrain(level="waveform").forward_train(model, batch, BCE)
    torch.testing.assert_close(seen["second"], 3 * seen["first"])
    assert not torch.equal(seen["first"], batch["waveform"])


@pytest.mark.parametrize("name", ["flipp", "shift8", "shift+", "shift+x"])
def test_unknown_view(name: str) -> None:
    with pytest.raises(UserError, match="there is no view"):
        find_views([name])
