"""Optimisers and schedules as a config names them; what is tried before the first epoch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from command_here import run_main
from small_run import make_data
from torch import nn

import configs
import train
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import build_optimizer, build_scheduler, count_training_samples

CPU = torch.device("cpu")


@pytest.mark.parametrize("choice", [{}, {"foreach": True}, {"fused": False}, {"foreach": False}])
def test_one_kernel_on_a_gpu_unless_the_config_chooses(monkeypatch, choice: dict) -> None:
    taken = {}

    class NotedAdamW(torch.optim.AdamW):
        def __init__(self, parameters, lr: float, fused=None, foreach=None) -> None:
            taken.update(lr=lr, fused=fused, foreach=foreach)

    monkeypatch.setattr(torch.optim, "AdamW", NotedAdamW)
    settings = {"optimizer": NotedAdamW, "optimizer_params": {"lr": 1e-3, **choice}}
    config = ConfigMeta("Noted", (configs.Demo,), settings, register=False)
    build_optimizer(config, nn.Linear(2, 1), torch.device("cuda"))
    assert taken == {"lr": 1e-3, "fused": None, "foreach": None} | (choice or {"fused": True})


def test_sgd_is_one_kernel_on_a_gpu_too(monkeypatch) -> None:
    taken = {}

    class NotedSGD(torch.optim.SGD):
        def __init__(self, parameters, lr: float, fused=None) -> None:
            taken.update(fused=fused)

    monkeypatch.setattr(torch.optim, "SGD", NotedSGD)
    settings = {"optimizer": NotedSGD, "optimizer_params": {"lr": 1e-3}}
    config = ConfigMeta("NotedSGD", (configs.Demo,), settings, register=False)
    for kind, fused in (("cuda", True), ("cpu", None)):
        build_optimizer(config, nn.Linear(2, 1), torch.device(kind))
        assert taken == {"fused": fused}


def learning_rates(config: ConfigMeta, updates_per_epoch: int) -> list[float]:
    """Return the learning rate of every optimiser step of a fit."""
    optimizer = build_optimizer(config, nn.Linear(2, 1), CPU)
    scheduler = build_scheduler(config, optimizer, updates_per_epoch)
    rates = []
    for _ in range(config.num_epochs):
        for _ in range(updates_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if config.batch_scheduler:
                scheduler.step()
        if not config.batch_scheduler:
            scheduler.step()
    return rates


@pytest.mark.parametrize("epochs", [2, 5, 9])
def test_the_schedules_of_our_own_last_as_long_as_the_fit(epochs: int) -> None:
    for name in ("Demo", "DemoSpec", "PseudoDemo", "Wave01", "Wave02", "Wave05", "Spec01"):
        config = override(getattr(configs, name), [f"num_epochs={epochs}"])
        last = (1 + math.cos(math.pi * (epochs - 1) / epochs)) / 2
        rates = learning_rates(config, 3)
        assert rates[-1] == pytest.approx(1e-6 + (rates[0] - 1e-6) * last), name


def test_reference_experiments_keep_the_published_length() -> None:
    assert configs.Nspec12.scheduler_params["T_0"] == 8
    assert override(configs.Nspec12, ["num_epochs=3"]).scheduler_params["T_0"] == 8


@pytest.mark.parametrize("name", ["Wave06", "Wave07"])
def test_what_keeps_the_last_epoch_ends_at_a_learning_rate_near_zero(name: str) -> None:
    rates = learning_rates(getattr(configs, name), 256)
    assert rates[0] == 1e-2
    assert rates[-1] < 1e-3 * rates[0]


@pytest.mark.parametrize(
    "settings",
    [
        ["scheduler=OneCycleLR", "scheduler_params.max_lr=0.01", "batch_scheduler=true"],
        ["scheduler=WarmupCosine", "scheduler_params.warmup=0.1", "batch_scheduler=true"],
    ],
)
def test_a_warm_up_is_written_without_counting_steps(settings: list[str]) -> None:
    for epochs in (2, 4):
        rates = learning_rates(override(configs.Demo, [*settings, f"num_epochs={epochs}"]), 30)
        peak = rates.index(max(rates))
        assert 0 < peak < len(rates) / 2
        assert rates[0] < 0.3 * rates[peak]
        assert rates[-1] < 0.01 * rates[peak]


def test_samples_of_an_epoch() -> None:
    assert count_training_samples(configs.Demo, 100, 7) == 107
    assert count_training_samples(configs.Wave06, 100, 0) == 2**15


def test_an_image_too_narrow_for_squares_is_refused_before_the_first_epoch(tmp_path: Path) -> None:
    """The strain is whitened at half its rate: 128 columns, and 256 of 4,096 samples."""
    data = make_data(tmp_path / "data", n_train=24, n_test=4)
    options = (
        f"train_path={data / 'train.csv'} test_path={data / 'test.csv'} train_cache=none "
        "test_cache=none cv=2 batch_size=4 num_epochs=1 model=MultiInstanceSCNN "
        "model_params.spec_params.n_scales=160"
    )
    line = ["--config", "DemoSpec", "--no_pretrained", "--results", str(tmp_path / "results")]
    done = run_main(train.main, [*line, "--set", *options.split()])
    assert done.returncode == 2, done.stdout + done.stderr
    assert "an image of (160, 128) cannot be cut into squares" in done.stderr
    assert not list((tmp_path / "results").rglob("events.out.*"))  # no epoch had begun
