"""Code for float32 run in float64."""

from __future__ import annotations

import copy

import torch

from runtime.double_precision import double_precision, widen


def work(x: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
    """A cast, a factory, a Fourier transform, a convolution, and a buffer that is written to."""
    spectrum = torch.fft.rfft(x.float() * torch.hann_window(x.shape[-1]))
    buffer = torch.empty(x.shape)
    buffer.copy_(torch.fft.irfft(spectrum * torch.tensor(1 / 3), x.shape[-1]))
    buffer.add_(0.1)
    return network(buffer[:, None].float()).square().sum((1, 2)).sqrt()


def test_it_is_the_same_as_code_in_float64() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 9), torch.nn.BatchNorm1d(4)).eval()
    x = torch.randn(3, 64)
    with torch.inference_mode():
        plain = work(x, network)
        with double_precision():
            found = work(x, network)
        # By hand: weights and constants have the values of float32.
        window, third = torch.hann_window(64).double(), torch.tensor(1 / 3).double()
        spectrum = torch.fft.rfft(x.double() * window)
        rows = torch.fft.irfft(spectrum * third, 64) + 0.1
        expected = copy.deepcopy(network).double()(rows[:, None]).square().sum((1, 2)).sqrt()
    assert (plain.dtype, found.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    assert not torch.equal(plain.double(), expected)  # of which float32 is some digits off
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


def test_what_is_written_to_keeps_its_type() -> None:
    total = torch.zeros(4)
    with double_precision():
        total += torch.full((4,), 0.5)
    assert total.dtype == torch.float32
    assert total.tolist() == [0.5] * 4


def test_a_view_stays_a_view_and_is_widened_where_it_is_used() -> None:
    x = torch.full((4, 2), 1 / 3)
    with double_precision():
        parts = x.split(2)
        total = parts[0].sum(0) + x[2]
    assert parts[0].data_ptr() == x.data_ptr()
    assert total.dtype == torch.float64
    assert total.tolist() == [3 * float(x[0, 0])] * 2


def test_only_single_precision_is_widened() -> None:
    assert widen(torch.complex64) == torch.complex128
    for dtype in (torch.float16, torch.int64, torch.float64):
        assert widen(torch.ones(2, dtype=dtype)).dtype == dtype
    assert widen("float32") == "float32"
