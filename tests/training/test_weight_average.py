"""The moving average of the weights, against a plain loop in float64."""

from __future__ import annotations

import torch
from torch import nn

from training.weight_average import WeightAverage


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
