"""The gradient of the filter bank's magnitude against finite differences."""

from __future__ import annotations

import pytest
import torch

from spectrograms import filterbank


@pytest.mark.parametrize("plan", ["banded", "whole"])
@pytest.mark.parametrize("stride", [4, 16])  # folded by sums and by matrix products
@pytest.mark.parametrize("complex_bank", [True, False])
def test_gradients_of_the_magnitude(stride, complex_bank, plan):
    x = torch.randn(3, 40, dtype=torch.float64, requires_grad=True)
    bank = torch.randn(
        5, 64, dtype=torch.complex128 if complex_bank else torch.float64, requires_grad=True
    )
    bands = (
        filterbank.whole_plan(5, 64, stride)
        if plan == "whole"
        else filterbank.banded_plan(bank.detach(), stride)
    )
    frames = 64 // stride - 1
    assert torch.autograd.gradcheck(
        lambda a, b: filterbank.correlation_magnitude(a, b, bands, stride, frames), (x, bank)
    )
