"""How large gradients were: against torch's own norms, and the way into a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from training.gradient_record import GradientRecord, GradientSize, gradient_norm, largest_gradient
from training.precision import clip_gradients

CPU = torch.device("cpu")


def parameters_with(*gradients: list[float]) -> list[nn.Parameter]:
    found = []
    for values in gradients:
        parameter = nn.Parameter(torch.ones(len(values)))
        parameter.grad = torch.tensor(values)
        found.append(parameter)
    return [*found, nn.Parameter(torch.ones(2))]  # and one without a gradient, as frozen ones


def test_norms_are_of_all_gradients_together() -> None:
    parameters = parameters_with([3.0, 0.0], [0.0, -4.0, 0.0])
    assert gradient_norm(parameters).item() == pytest.approx(5.0)
    assert largest_gradient(parameters).item() == 4.0
    assert gradient_norm([]).item() == largest_gradient([]).item() == 0.0


@pytest.mark.parametrize(
    ("mode", "limit", "clipped"),
    [
        ("value", 3.9, True),
        ("value", 4.0, False),
        ("value", 5.1, False),
        ("norm", 4.9, True),
        ("norm", 5.1, False),
        (None, 1e-9, False),
        ("agc", 0.01, True),
        ("agc", 1e6, False),
    ],
)
@pytest.mark.parametrize("may_read", [False, True])
def test_the_size_is_that_before_clipping(
    mode: str | None, limit: float, clipped: bool, may_read: bool
) -> None:
    parameters = parameters_with([3.0, 0.0], [0.0, -4.0, 0.0])
    size = clip_gradients(parameters, mode, limit, may_read=may_read)
    assert size.norm.item() == pytest.approx(5.0)
    assert size.clipped.item() == clipped
    assert (gradient_norm(parameters).item() < 4.99) == clipped


@pytest.mark.parametrize("limit", [0.5, 4.9999, 5.0, 100.0])
def test_clipping_by_the_norm_is_torchs_bit_for_bit(limit: float) -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(n).tolist() for n in (3, 1000, 17)]
    ours, theirs = parameters_with(*gradients), parameters_with(*gradients)
    size = clip_gradients(ours, "norm", limit, gradient_norm(ours))
    assert torch.equal(size.norm, nn.utils.clip_grad_norm_(theirs, limit))
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert torch.equal(one.grad, other.grad)
    nothing = [nn.Parameter(torch.ones(2))]
    assert not clip_gradients(nothing, "norm", limit).clipped


def test_an_epoch_is_its_median_and_continues_from_a_checkpoint() -> None:
    record = GradientRecord()
    assert all(math.isnan(value) for value in record.scores().values())
    # An infinite gradient is one that fp16 skips: neither its norm nor its clipping counts.
    for norm, clipped in (
        (1.0, False),
        (2.0, False),
        (300.0, True),
        (4.0, False),
        (math.inf, True),
    ):
        record.add(GradientSize(torch.tensor(norm), torch.tensor(clipped)))
    assert record.scores() == {"gradient_norm": 2.0, "clipped_steps": 0.25}
    again = GradientRecord.from_checkpoint(record.to_checkpoint(), CPU)
    assert again.scores() == record.scores()
    assert GradientRecord.from_checkpoint(GradientRecord().to_checkpoint(), CPU).norms == []
