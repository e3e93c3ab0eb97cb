"""Averages over delays beside sums written plainly, with their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models1d import delay_averages
from models1d.delay_averages import log_average, log_sum_of_products

REACH = 3


def order_in_memory(x: Tensor, templates_innermost: bool) -> Tensor:
    """Return the same numbers, times or templates innermost: (B, template, ..., time)."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if templates_innermost else x.contiguous()


def products_plainly(own: Tensor, first: Tensor, second: Tensor, log_weights: Tensor) -> Tensor:
    times = first.shape[-1]
    terms = [
        log_k + own[..., u : u + times] + (first * second[..., u : u + times]).sum(2)
        for u, log_k in enumerate(torch.log_softmax(log_weights, 0))
    ]
    return torch.stack(terms).logsumexp(0)


def average_plainly(log_ratio: Tensor, log_weights: Tensor) -> Tensor:
    k = torch.log_softmax(log_weights, 0)
    return (log_ratio.unfold(-1, len(k), 1) + k).logsumexp(-1)  # (.., time, delay) -> (.., time)


def draw_pair(rows: int, templates_innermost: bool, dtype: torch.dtype) -> list[Tensor]:
    """Return own, first, second and log weights of 5 rows, 4 templates and 11 times."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((5, 4, 11 + 2 * REACH), (5, 4, rows, 11), (5, 4, rows, 11 + 2 * REACH))
    drawn = [2 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn = [order_in_memory(x.to(dtype), templates_innermost) for x in drawn]
    return [*drawn, torch.randn(2 * REACH + 1, generator=generator, dtype=torch.float64).to(dtype)]


def gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    inputs = [x.detach().requires_grad_() for x in inputs]
    result = function(*inputs)
    weights = torch.linspace(-1, 2, result.numel(), dtype=torch.float64).reshape(result.shape)
    return list(torch.autograd.grad(result, inputs, weights.to(result.dtype)))


@pytest.mark.parametrize("rows", [2, 6])
@pytest.mark.parametrize("templates_innermost", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_of_products(
    rows: int, templates_innermost: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2, 2 and 1 rows at a time
    terms_of_a_row = 4 * 11 * (2 * REACH + 1)
    monkeypatch.setitem(delay_averages.TERMS_AT_A_TIME, "cpu", 2 * terms_of_a_row + 1)
    inputs = draw_pair(rows, templates_innermost, dtype)
    exact = [x.double() for x in inputs]
    tolerance = (
        {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    )
    expected = products_plainly(*exact)
    torch.testing.assert_close(log_sum_of_products(*inputs).double(), expected, **tolerance)
    found = gradients(log_sum_of_products, inputs)
    for ours, theirs in zip(found, gradients(products_plainly, exact), strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), theirs, **tolerance)


def test_only_gradients_that_are_asked_for_are_formed() -> None:
    own, first, second, log_weights = draw_pair(2, True, torch.float64)
    log_weights.requires_grad_()
    result = log_sum_of_products(own, first, second, log_weights)
    result.sum().backward()
    # Every sum hands one unit on.
    torch.testing.assert_close(log_weights.grad.sum(), torch.zeros(()).double())
    assert own.grad is first.grad is second.grad is None


@pytest.mark.parametrize("times", [5, 32, 71])  # less than a block, one, and two with a rest
@pytest.mark.parametrize("templates_innermost", [True, False])
def test_averages(times: int, templates_innermost: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    log_ratio = 3 * torch.randn(3, 4, times + 2 * REACH, generator=generator, dtype=torch.float64)
    log_weights = torch.randn(2 * REACH + 1, generator=generator, dtype=torch.float64)
    inputs = [order_in_memory(log_ratio, templates_innermost), log_weights]
    torch.testing.assert_close(log_average(*inputs), average_plainly(*inputs))
    for ours, theirs in zip(
        gradients(log_average, inputs), gradients(average_plainly, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    # Near those of float64 in float32.
    single = [x.float() for x in inputs]
    for ours, theirs in zip(
        gradients(log_average, single), gradients(average_plainly, inputs), strict=True
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_an_average_beside_a_loud_place() -> None:
    """Beside the plain logsumexp, however loud another place of the row is."""
    log_weights = torch.randn(7, dtype=torch.float64)
    weights = torch.softmax(log_weights, 0)
    for loudest in (5, 60, 1000):
        log_ratio = torch.rand(2, 5, 40, dtype=torch.float64) * 10
        log_ratio[0, 1, 20] = loudest
        found = log_average(log_ratio, log_weights)
        for t in range(34):
            expected = (log_ratio[..., t : t + 7] + weights.log()).logsumexp(-1)
            # The largest stands for the sum where 1e-30 of the row's largest is more.
            exact = expected - log_ratio.amax((1, 2))[:, None] > math.log(1e-30)
            torch.testing.assert_close(found[..., t][exact], expected[exact])
            error = (found[..., t] - expected).abs().max()
            assert error < 2 * math.log(7) + weights.log().abs().max()
    assert not exact.all()


def test_averages_have_gradients_beside_a_loud_place() -> None:
    log_ratio = torch.rand(1, 2, 40) * 10
    log_ratio[0, 0, 3] = 500
    log_ratio.requires_grad_()
    log_average(log_ratio, torch.zeros(7)).sum().backward()
    # Every average hands one unit on.
    torch.testing.assert_close(log_ratio.grad.sum(), torch.tensor(2 * 34.0))
