"""Schedules of torch and of timm are stepped alike, and follow settings changed on resuming."""

from __future__ import annotations

import math

import pytest
import torch.optim.lr_scheduler as torch_schedules
from timm.scheduler import CosineLRScheduler, PlateauLRScheduler
from toy import Toy, make_trainer

from training.schedules import fill_in_length
from training_extras import WarmupCosine

DATA = (Toy(40), Toy(20, seed=1))  # three batches of 16


def make_with(folder, make_scheduler, **options):
    trainer = make_trainer(folder, jitter=False, scheduler=None, **options)
    trainer.scheduler = make_scheduler(trainer.optimizer)
    return trainer


def rates_of(trainer) -> list[float]:
    return [row["learning_rate"] for row in trainer.fit(*DATA).history]


def test_schedules_of_timm_by_epoch_by_update_and_by_score(tmp_path) -> None:
    by_epoch = make_with(
        tmp_path / "epoch", lambda o: CosineLRScheduler(o, 4, warmup_t=1, warmup_lr_init=1e-3)
    )
    cosine = [1e-2 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (1, 2)]
    assert rates_of(by_epoch) == pytest.approx([1e-3, *cosine])
    by_update = make_with(tmp_path / "update", lambda o: CosineLRScheduler(o, 9, t_in_epochs=False))
    # The rate of the last of three updates in each epoch.
    expected = [1e-2 * (1 + math.cos(math.pi * update / 9)) / 2 for update in (2, 5, 8)]
    assert rates_of(by_update) == pytest.approx(expected)
    by_score = make_with(
        tmp_path / "score",
        lambda o: PlateauLRScheduler(o, decay_rate=0.5, patience_t=0, threshold=10.0),
        scheduler_target="valid_loss",
    )
    assert rates_of(by_score)[-1] < 1e-2


def one_cycle(optimizer):
    return torch_schedules.OneCycleLR(optimizer, max_lr=0.1, total_steps=9)


@pytest.mark.parametrize(
    ("make_scheduler", "options"),
    [
        (lambda o: torch_schedules.CosineAnnealingLR(o, 4), {}),
        (lambda o: torch_schedules.StepLR(o, 1, gamma=0.5), {}),
        (one_cycle, {"batch_scheduler": True}),
        (
            # The score does not improve by 10: a step down after the second epoch and the fourth.
            lambda o: PlateauLRScheduler(o, decay_rate=0.5, patience_t=1, threshold=10.0),
            {"scheduler_target": "valid_loss", "num_epochs": 5},
        ),
        (
            lambda o: torch_schedules.SequentialLR(
                o, [torch_schedules.LinearLR(o), torch_schedules.CosineAnnealingLR(o, 5)], [1]
            ),
            {},
        ),
    ],
)
def test_a_resumed_schedule_is_the_unbroken_one(tmp_path, make_scheduler, options) -> None:
    whole = rates_of(make_with(tmp_path / "whole", make_scheduler, **options))
    first = make_with(tmp_path / "parts", make_scheduler, **options)
    first.num_epochs = 2
    first.fit(*DATA)
    second = make_with(tmp_path / "parts", make_scheduler, **options)
    assert second.resume()
    assert rates_of(second) == whole


@pytest.mark.parametrize(
    ("make_scheduler", "options"),
    [
        (lambda o: torch_schedules.CosineAnnealingLR(o, 4), {}),
        (
            lambda o: torch_schedules.ReduceLROnPlateau(o, patience=0, threshold=10.0),
            {"scheduler_target": "valid_loss"},
        ),
    ],
)
def test_a_learning_rate_changed_on_resuming_holds_in_the_schedule(
    tmp_path, make_scheduler, options
) -> None:
    make_with(tmp_path, make_scheduler, num_epochs=2, **options).fit(*DATA)
    unchanged = make_with(tmp_path, make_scheduler, num_epochs=3, **options)
    assert unchanged.resume()
    lower = make_with(tmp_path, make_scheduler, num_epochs=3, lr=1e-3, **options)
    assert lower.resume()
    rates = [trainer.optimizer.param_groups[0]["lr"] for trainer in (unchanged, lower)]
    assert rates[1] == pytest.approx(rates[0] / 10)
    assert lower.optimizer.state[next(lower.model.parameters())]["step"] == 6  # moments are kept
    assert rates_of(lower)[2] == pytest.approx(rates[1])


def test_more_epochs_stretch_a_schedule_of_that_length(tmp_path) -> None:
    def make(epochs: int):
        cosine = lambda o: torch_schedules.CosineAnnealingLR(o, epochs)  # noqa: E731
        return make_with(tmp_path, cosine, num_epochs=epochs)

    make(2).fit(*DATA)
    finished = make(2)
    assert finished.resume()
    assert finished.state.finished
    longer = make(4)
    assert longer.resume()
    assert not longer.state.finished
    rates = rates_of(longer)
    # From the end of the short schedule to the same place in the long one.
    expected = [1e-2 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (2, 3)]
    assert rates[2:] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("cls", "params", "per_update", "expected"),
    [
        (torch_schedules.CosineAnnealingWarmRestarts, {}, False, {"T_0": 3}),
        (torch_schedules.CosineAnnealingWarmRestarts, {"T_0": 8}, False, {"T_0": 8}),
        (torch_schedules.CosineAnnealingLR, {"eta_min": 1e-6}, True, {"T_max": 21}),
        (torch_schedules.OneCycleLR, {"max_lr": 0.1}, True, {"total_steps": 21}),
        (
            torch_schedules.OneCycleLR,
            {"max_lr": 0.1, "epochs": 5},
            True,
            {"epochs": 5, "steps_per_epoch": 7},
        ),
        (WarmupCosine, {"warmup": 0.1}, True, {"total_steps": 21}),
        (CosineLRScheduler, {}, False, {"t_initial": 3}),
        (CosineLRScheduler, {"t_in_epochs": False}, False, {"t_initial": 21}),
        (torch_schedules.StepLR, {"step_size": 2}, False, {}),
    ],
)
def test_a_length_that_is_left_out_is_that_of_the_fit(cls, params, per_update, expected) -> None:
    assert fill_in_length(cls, params, 3, 7, per_update) == {**params, **expected}
