"""Errors that the user can correct: hints and choices."""

from __future__ import annotations

import pytest

from runtime.errors import UserError, check_choice, is_out_of_memory, nearest


def test_the_nearest_name_is_suggested() -> None:
    assert nearest("Nspec61", ["Nspec16", "Demo"]) == " (did you mean 'Nspec16'?)"
    assert nearest("zzz", ["Nspec16"]) == ""


def test_choices_are_listed() -> None:
    check_choice("Demo", "amp", "bf16", ["bf16", "fp16"])
    with pytest.raises(UserError, match=r"Demo: amp = 'bf61' \(did you mean 'bf16'\?\): expected"):
        check_choice("Demo", "amp", "bf61", ["bf16", "fp16"])


@pytest.mark.parametrize(
    ("message", "is_full"),
    [
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_a_full_memory_is_known_by_what_torch_says(message: str, is_full: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) == is_full
    assert not is_out_of_memory(KeyError(message))
