"""What `deterministic = True` trains needs no operation that CUDA has in no repeatable form.

Which these are stands in the documentation of torch.use_deterministic_algorithms. What a step
computes can be seen on a CPU; that runs are equal bit by bit, tests/test_gpu_training.py shows on
a GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from deterministic_steps import DETERMINISTIC, deterministic_config, two_steps
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from configuration.overrides import override
from runtime.torch_settings import torch_settings_restored
from train import set_determinism

# By the beginning of the name of the operation that raises an error on a CUDA tensor.
REFUSED = (
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "avg_pool3d_backward",
    "fractional_max_pool",
    "max_unpool",
    "upsample_linear1d_backward",
    "upsample_bilinear2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward",
    "_upsample_bi",  # those with antialiasing
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
    "nll_loss",
    "_ctc_loss_backward",
    "put",
    "histc",
    "bincount",
    "median",
)


class Noted(TorchDispatchMode):
    """Notes the operations that have no repeatable form on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        if name.startswith(REFUSED):
            self.found.add(name)
        return operation(*args, **(kwargs or {}))


def test_an_operation_without_a_repeatable_form_is_seen() -> None:
    x = torch.rand(1, 1, 4, 4, requires_grad=True)
    with Noted() as noted:
        F.interpolate(x, (8, 8), mode="bicubic").sum().backward()
    assert noted.found == {"upsample_bicubic2d_backward"}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_experiments_have_a_repeatable_form(name: str, tmp_path: Path) -> None:
    config = deterministic_config(name, small=True)
    if config.amp is True:  # which is bf16 on a GPU and float32 on a CPU
        config = override(config, ["amp=bf16"])
    with torch_settings_restored(), Noted() as noted:
        set_determinism(True)
        two_steps(config, torch.device("cpu"), tmp_path)
    assert not noted.found
