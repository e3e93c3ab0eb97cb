"""Types of settings and arguments, as far as they can be checked when a config is read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Optional, TypeVar, Union

import pytest
import torch

from configuration.types import arguments_of, format_type, is_of_type, required_arguments
from models1d import BranchedResNet1d

T = TypeVar("T")


@pytest.mark.parametrize(
    ("value", "expected", "is_one"),
    [
        (1, float, True),
        (1.0, int, False),
        (True, int, False),
        (True, bool | int, True),
        (None, None, True),
        (None, int | None, True),
        (None, Optional[int], True),  # noqa: UP045 - as libraries still write it
        ("a", Union[int, str], True),  # noqa: UP007
        ("ab", Sequence[str], False),
        ((1, 2), Sequence[int], True),
        ((1, 2), int | Sequence[int], True),
        ({"a": 1}, Mapping[str, int], True),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (3, Any, True),
        (3, T, True),
        (int, type[int], True),
        (3, Callable[..., int], False),
    ],
)
def test_is_of_type(value: object, expected: object, is_one: bool) -> None:
    assert is_of_type(value, expected) is is_one


def test_types_as_messages_name_them() -> None:
    assert format_type(int | None) == "int or None"
    assert format_type(float) == "float"
    assert format_type(Sequence[int] | str) == "Sequence or str"
    assert format_type(Literal["a", "b"]) == "'a' or 'b'"


def test_arguments_and_their_defaults() -> None:
    arguments = arguments_of(BranchedResNet1d)
    assert arguments["dropout"].expected is float
    assert arguments["dropout"].default == 0.0
    assert required_arguments(torch.optim.lr_scheduler.StepLR) == ["optimizer", "step_size"]
    assert arguments_of(print) is not None  # a C function
