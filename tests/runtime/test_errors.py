"""Errors that the user can correct: hints and choices."""

from __future__ import annotations

import pytest

from runtime.errors import UserError, check_choice, nearest


def test_the_nearest_name_is_suggested() -> None:
    assert nearest("Nspec61", ["Nspec16", "Demo"]) == " (did you mean 'Nspec16'?)"
    assert nearest("zzz", ["Nspec16"]) == ""


def test_choices_are_listed() -> None:
    check_choice("Demo", "amp", "bf16", ["bf16", "fp16"])
    with pytest.raises(UserError, match=r"Demo: amp = 'bf61' \(did you mean 'bf16'\?\): expected"):
        check_choice("Demo", "amp", "bf61", ["bf16", "fp16"])
