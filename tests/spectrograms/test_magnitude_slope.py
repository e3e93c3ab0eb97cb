"""The gradient of a number that a filter bank depends on, beside that of the whole bank."""

from __future__ import annotations

import pytest
import torch

from spectrograms import filterbank
from spectrograms.magnitude_slope import magnitude_of_number


@pytest.mark.parametrize("plan", ["banded", "whole"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_is_that_of_the_whole_bank(
    plan: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(filterbank.CHUNK, "cpu", 200)  # one row at a time, then several parts
    torch.manual_seed(0)
    stride, frames = 4, 15
    x, first, second = (
        torch.randn(*n, dtype=torch.float64) for n in ((3, 2, 40), (5, 64), (5, 64))
    )
    number = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    bank = first + number**2 * second
    bands = (
        filterbank.whole_plan(5, 64, stride)
        if plan == "whole"
        else filterbank.banded_plan(bank.detach(), stride)
    )
    weights = torch.randn(3, 2, 5, frames, dtype=torch.float64)
    expected = filterbank.correlation_magnitude(x, bank, bands, stride, frames)
    (of_bank,) = torch.autograd.grad(expected, number, weights)
    bank, slopes = bank.detach(), 2 * number.detach() * second
    image = magnitude_of_number(number, x.to(dtype), bank, slopes, bands, stride, frames)
    assert image.dtype == dtype
    (found,) = torch.autograd.grad(image, number, weights.to(dtype))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(image.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found, of_bank, rtol=tolerance, atol=tolerance)


def test_silence_has_no_gradient() -> None:
    number = torch.tensor(0.7, requires_grad=True)
    bank, slopes = torch.randn(5, 64), torch.randn(5, 64)
    plan = filterbank.whole_plan(5, 64, 4)
    image = magnitude_of_number(number, torch.zeros(2, 40), bank, slopes, plan, 4, 15)
    image.sum().backward()
    assert torch.equal(image, torch.zeros_like(image))
    assert number.grad == 0
