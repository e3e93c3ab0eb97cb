"""Mixed precision and clipping: the type chosen for a device, gradients cut, bad ones noticed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from runtime.errors import UserError
from training.gradient_record import gradient_norm
from training.precision import (
    are_finite,
    check_clipping,
    choose_amp_dtype,
    clip_gradients,
    make_scaler,
)


def test_clipping(rng) -> None:
    def fresh() -> nn.Parameter:
        parameter = nn.Parameter(torch.zeros(4))
        parameter.grad = torch.tensor([3.0, -0.1, 0.0, 4.0])
        return parameter

    by_value, by_norm, free = fresh(), fresh(), fresh()
    clip_gradients([by_value], "value", 0.15, gradient_norm([by_value]))
    assert by_value.grad.tolist() == pytest.approx([0.15, -0.1, 0.0, 0.15])
    clip_gradients([by_norm], "norm", 1.0, gradient_norm([by_norm]))
    assert by_norm.grad.norm().item() == pytest.approx(1.0, rel=1e-5)
    clip_gradients([free], None, 1e-9, gradient_norm([free]))
    assert free.grad.tolist() == pytest.approx([3.0, -0.1, 0.0, 4.0])
    with pytest.raises(UserError, match="clip_grad"):
        check_clipping("valeu")


@pytest.mark.parametrize("native", [True, False])
def test_amp_of_a_gpu_is_what_it_computes_fast(monkeypatch, native: bool) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    expected = torch.bfloat16 if native else torch.float16
    assert choose_amp_dtype(True, torch.device("cuda")) == expected


def test_amp_choice() -> None:
    cpu = torch.device("cpu")
    assert choose_amp_dtype(True, cpu) is None
    assert choose_amp_dtype(False, cpu) is None
    assert choose_amp_dtype("bf16", cpu) == torch.bfloat16
    for amp in ("fp16", "fp8"):
        with pytest.raises(UserError, match="amp"):
            choose_amp_dtype(amp, cpu)


def parameter_with_gradient(*values: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(len(values)))
    parameter.grad = torch.tensor(values)
    return parameter


def test_adaptive_clipping_bounds_the_gradient_by_the_size_of_the_weight() -> None:
    parameter = nn.Parameter(torch.tensor([[3.0, 4.0]]))  # one output unit, norm 5
    parameter.grad = torch.tensor([[30.0, 40.0]])  # norm 50
    clip_gradients([parameter], "agc", 0.1, gradient_norm([parameter]))
    # Brock et al.: the gradient's norm may be 0.1 of the weight's, 0.5; its direction is kept.
    assert parameter.grad[0].tolist() == pytest.approx([0.3, 0.4], rel=1e-5)


def finite(*parameters: nn.Parameter) -> bool:
    return are_finite(parameters, gradient_norm(parameters))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_gradient_among_good_ones_is_found(bad: float) -> None:
    good = parameter_with_gradient(1.0, 2.0)
    assert finite(good)
    assert not finite(good, parameter_with_gradient(0.0, bad))


def test_large_gradients_do_not_overflow_the_check_and_missing_ones_are_skipped() -> None:
    # The square of 1e30 is beyond float32; the gradient itself is fine.
    assert finite(parameter_with_gradient(1e30, -1e30))
    assert finite(nn.Parameter(torch.zeros(2)))


def test_bad_values_are_clipped_whatever_the_norm_says() -> None:
    """A norm of NaN is below no limit, and one that overflowed is above every limit."""
    for values in ((float("nan"), 5.0), (1e30, 5.0)):
        parameter = parameter_with_gradient(*values)
        clip_gradients([parameter], "value", 2.0, gradient_norm([parameter]), may_read=True)
        assert parameter.grad[1].item() == 2.0


def test_only_fp16_scales_the_loss() -> None:
    cpu = torch.device("cpu")
    assert make_scaler(torch.float16, cpu).is_enabled()
    for dtype in (None, torch.bfloat16):
        assert not make_scaler(dtype, cpu).is_enabled()
