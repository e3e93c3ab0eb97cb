"""A command leaves torch's global switches as it found them."""

from __future__ import annotations

import os

import torch

from runtime.torch_settings import CUBLAS, torch_settings_restored
from train import set_determinism


def test_switches_are_restored(monkeypatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )
    for deterministic in (True, False):
        with torch_settings_restored():
            set_determinism(deterministic)
            torch.backends.cuda.matmul.allow_tf32 = not before[2]
            torch.backends.cudnn.allow_tf32 = not before[3]
            assert torch.are_deterministic_algorithms_enabled() == deterministic
        after = (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        )
        assert after == before
        assert CUBLAS not in os.environ


def test_the_precision_of_products_is_restored_to_the_letter() -> None:
    """'medium' lets a GPU round to bfloat16, and 'high' to TF32."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch_settings_restored():
            torch.backends.cuda.matmul.allow_tf32 = True
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
