"""The formula written plainly gives what the network gives, gradients included."""

from __future__ import annotations

import pytest
import torch
from competition import SAMPLES, window_of

from benchmarks.models1d.plain_matched_filter import plain_logits
from models1d import MatchedFilter1d


@pytest.mark.parametrize(
    "arguments",
    [{}, {"correlation": -0.6}, {"correlation": 0.4, "components": 2, "detectors": ("H1", "L1")}],
)
def test_logits_and_gradients_are_the_same(arguments: dict) -> None:
    torch.manual_seed(0)
    names = arguments.pop("detectors", ("H1", "L1", "V1"))
    small = {"templates": 5, "basis": 7, "before": 0.25, "arrival": (1.6, 1.7)}
    model = MatchedFilter1d(**small, **arguments, observation=window_of(SAMPLES, *names)).double()
    with torch.no_grad():
        for parameter in (model.prior, *model.delay):
            parameter.copy_(torch.randn_like(parameter))
    x = torch.randn(3, len(names), 2048, dtype=torch.float64)
    ours, theirs = model(x), plain_logits(model, x)
    torch.testing.assert_close(ours, theirs)
    # The weights of the last layer that begin at zero hand nothing on to the small network.
    parameters = [model.amplitude, model.prior, *model.delay]
    for found, expected in zip(
        torch.autograd.grad(ours.sum(), parameters),
        torch.autograd.grad(theirs.sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
