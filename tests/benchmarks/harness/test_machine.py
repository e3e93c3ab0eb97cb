"""Devices by name, and who else uses the machine."""

from __future__ import annotations

import torch
from benchmark_examples import CPU

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.machine import Neighbours, find_device


def test_neighbours_are_not_oneself() -> None:
    with Neighbours() as neighbours:
        sum(i * i for i in range(3_000_000))
    plain = neighbours.to_plain()
    assert plain["seconds"] >= 0
    assert isinstance(plain["disturbed"], bool)


def test_devices_by_name() -> None:
    assert find_device("cpu") == CPU
    assert BenchmarkSettings(CPU).choose(1, 2, 3) == 1
    assert BenchmarkSettings(torch.device("cuda")).choose(1, 2, 3) == 2
    assert BenchmarkSettings(CPU, quick=True).choose(1, 2, 3) == 3
