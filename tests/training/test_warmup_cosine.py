"""The learning rate of a warm-up and a cosine, against the formula."""

from __future__ import annotations

import math

import pytest
import torch

from runtime.errors import UserError
from training.warmup_cosine import WarmupCosine


def test_a_warm_up_and_a_cosine_against_the_formula() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = WarmupCosine(optimizer, total_steps=10, warmup=0.2, eta_min=0.01)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    cosine = [0.01 + 0.09 * (1 + math.cos(math.pi * n / 8)) / 2 for n in range(9)]
    assert rates == pytest.approx([0.1 / 3, 0.2 / 3, *cosine])
    with pytest.raises(UserError, match="warmup = 1"):
        WarmupCosine(optimizer, 10, warmup=1)
