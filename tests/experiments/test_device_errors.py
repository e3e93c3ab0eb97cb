"""Errors of a device become sentences whose advice can be typed; others pass."""

from __future__ import annotations

import pytest
import torch

import configs
from configuration.config_class import find_config
from configuration.overrides import override
from experiments.device_errors import explain_full_memory, explains_device
from runtime.errors import UserError

CPU = torch.device("cpu")


def test_what_a_gpu_cannot_repeat_is_named():
    with (
        pytest.raises(UserError, match="upsample_bicubic2d_backward_out_cuda of Demo sums in"),
        explains_device(find_config("Demo"), torch.device("cuda")),
    ):
        raise RuntimeError(
            "upsample_bicubic2d_backward_out_cuda does not have a deterministic implementation, "
            "but you set 'torch.use_deterministic_algorithms(True)'."
        )
    with (
        pytest.raises(RuntimeError, match="size mismatch"),
        explains_device(find_config("Demo"), torch.device("cuda")),
    ):
        raise RuntimeError("size mismatch")


def test_less_memory_for_the_same_step() -> None:
    """The rows of a step stay the same, also where the batch size has no half."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    for size, smaller, accumulate in ((16, 8, 4), (15, 5, 6), (7, 1, 14)):
        config = override(configs.Demo, [f"batch_size={size}", "accumulate=2"])
        advice = f"--resume --set batch_size={smaller} accumulate={accumulate}"
        assert advice in explain_full_memory(config, CPU, error)
        assert smaller * accumulate == size * 2


def test_a_batch_of_one_row_cannot_be_made_smaller() -> None:
    config = override(configs.Demo, ["batch_size=1"])
    with (
        pytest.raises(UserError, match="use a smaller network or smaller images"),
        explains_device(config, CPU),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
