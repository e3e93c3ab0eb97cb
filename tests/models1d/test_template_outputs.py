"""Outputs of templates beside numpy's correlation, within the strain and beyond its ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models1d.template_outputs import autocasts_safely, power, template_outputs


@pytest.mark.parametrize(("start", "number", "stride"), [(0, 9, 4), (-70, 61, 2), (150, 30, 8)])
def test_outputs_are_correlations(start: int, number: int, stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 300, dtype=torch.float64)
    filters = torch.randn(5, 40, dtype=torch.float64)
    combinations = torch.randn(3, 2, 5, dtype=torch.float64)
    z = template_outputs(x, filters, combinations, start, number, stride)
    assert z.shape == (2, 3, 2, number)
    templates = (combinations @ filters).numpy()  # (template, 2, 40)
    silent = np.pad(x.numpy(), ((0, 0), (100, 200)))
    places = 100 + start + stride * np.arange(number)
    for row, m, quadrature in np.ndindex(2, 3, 2):
        expected = np.correlate(silent[row], templates[m, quadrature], "valid")[places]
        np.testing.assert_allclose(z[row, m, quadrature], expected, rtol=1e-10, atol=1e-10)
    squares = z[:, :, 0] ** 2 + z[:, :, 1] ** 2
    torch.testing.assert_close(power(z), squares / 2)


def test_half_precision_is_left_alone() -> None:
    """float16 holds no more than 65,504, which a loud glitch exceeds."""
    assert not autocasts_safely("cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert autocasts_safely("cpu")
    with torch.autocast("cpu", torch.float16):
        assert not autocasts_safely("cpu")
