"""How fast this machine trains: whole steps of an experiment on random strain, for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from configuration.config_class import ConfigMeta
from experiments.building import build_model, build_optimizer, build_preparation, observation_of
from experiments.objectives import build_objective
from physics.constants import TYPICAL_STRAIN
from training.precision import autocast, choose_amp_dtype, clip_gradients

CPU_BATCH = 4  # of image networks on a CPU, where a batch of 64 takes half a minute


@dataclass(frozen=True)
class Speed:
    """How fast an experiment is trained.

    Attributes:
        samples_per_second: transforms, network, loss, gradients and optimiser step.
        steps: that were timed.
        batch_size: of each.
    """

    samples_per_second: float
    steps: int
    batch_size: int


def time_training(
    config: ConfigMeta,
    device: torch.device,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Return how fast an experiment is trained on random strain, from random weights.

    One step before the first that is timed makes what is made once; at least one is timed.

    Args:
        config: of a data set that reads its samples.
        device: to train on.
        seconds: after which no further step begins.
        clock: that counts seconds.

    Raises:
        UserError: the experiment cannot be built.
    """
    torch.manual_seed(0)
    network = build_model(config).to(device).train()
    optimizer = build_optimizer(config, network, device)
    prepare = build_preparation(config, "train", device)
    objective = build_objective(config, [])
    dtype = choose_amp_dtype(config.amp, device)
    is_small = device.type == "cpu" and hasattr(network, "image")
    batch_size = min(config.batch_size, CPU_BATCH) if is_small else config.batch_size
    shape = (batch_size, *observation_of(config).shape)
    # Random, as copies of one sample would leave batch norm without a spread.
    strain = TYPICAL_STRAIN * torch.randn(shape, device=device)
    target = (torch.arange(batch_size, device=device) % 2).float()[:, None]

    def step() -> None:
        batch = prepare({"waveform": strain, "target": target})
        with autocast(dtype, device):
            loss, _, _ = objective.hook.forward_train(network, batch, objective.criterion)
        loss.backward()
        clip_gradients(network.parameters(), config.clip_grad, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()
    begin, steps, spent = clock(), 0, 0.0
    while not steps or spent < seconds:
        step()
        steps += 1
        spent = clock() - begin
    return Speed(steps * batch_size / spent, steps, batch_size)
