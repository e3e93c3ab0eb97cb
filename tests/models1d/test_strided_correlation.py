"""Strided correlation in polyphase form, beside torch's own convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models1d.strided_correlation import correlate_frames, make_frame_kernel, strided_correlation


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("length", [1, 31, 100, 128])
def test_strided_correlation_is_a_strided_convolution(stride: int, length: int) -> None:
    x = torch.randn(2, 512, dtype=torch.float64)
    filters = torch.randn(3, length, dtype=torch.float64)
    found = strided_correlation(x, filters, stride)
    expected = F.conv1d(x[:, None], filters[:, None], stride=stride)[..., : found.shape[-1]]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # No more than a block of places is left out at the end.
    assert (512 - length) // stride + 1 - found.shape[-1] <= 32 // stride


@pytest.mark.parametrize("stride", [1, 4, 32])
def test_frames_give_the_same_correlation(stride: int) -> None:
    x = torch.randn(2, 512, dtype=torch.float64)
    filters = torch.randn(3, 100, dtype=torch.float64)
    found = correlate_frames(x, make_frame_kernel(filters, stride), 3).transpose(1, 2)
    expected = F.conv1d(x[:, None], filters[:, None], stride=stride)[..., : found.shape[-1]]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (512 - 100) // stride + 1 - found.shape[-1] <= 32 // stride
