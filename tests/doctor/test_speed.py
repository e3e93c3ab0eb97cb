"""Whole steps are timed: as many as fit into the time, at least one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import configs
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from doctor.speed import CPU_BATCH, time_training
from physics.observation import Observation

CPU = torch.device("cpu")
TINY = {
    "observation": Part(Observation, sample_rate=512, window=0.5),
    "transforms": {"train": (), "test": ()},
    "batch_size": 8,
}


def small(parent: ConfigMeta, **settings: object) -> ConfigMeta:
    return ConfigMeta("Small", (parent,), {**TINY, **settings}, register=False)


def ticks(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += step


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (1.0, 2), (1.9, 4)])
def test_steps_are_counted_until_the_time_is_over(seconds: float, steps: int) -> None:
    model = {"widths": (4, 8), "depths": (1, 1), "kernel_sizes": (7, 5), "strides": (4, 4)}
    clock = ticks(0.5)  # each look at the clock is half a second later
    speed = time_training(small(configs.Demo, model_params=model), CPU, seconds, clock.__next__)
    assert (speed.steps, speed.batch_size) == (steps, 8)
    assert speed.samples_per_second == pytest.approx(8 / 0.5)


def test_image_networks_have_small_batches_on_a_cpu() -> None:
    spec = {**configs.DemoSpec.model_params["spec_params"], "fs": 512, "upper_freq": 240}
    params = {**configs.DemoSpec.model_params, "spec_params": spec}
    speed = time_training(small(configs.DemoSpec, model_params=params), CPU, 0.0)
    assert speed.batch_size == CPU_BATCH
    assert speed.samples_per_second > 0
