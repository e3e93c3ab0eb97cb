"""Whether a value is of an annotated type, and the types that a constructor's arguments have.

Settings of a config and arguments of a class are checked against their annotations, so that a
wrong type is an error when the config is read and not hours later.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, NamedTuple


def is_of_type(value: Any, expected: Any) -> bool:
    """Whether a value is of an annotated type; an int serves as a float, a bool not as an int.

    Of a generic type such as `Sequence[int]` only the outer part is checked. An annotation that
    cannot be checked at run time, e.g. a type variable, admits everything.
    """
    if expected is Any:
        return True
    if expected is None or expected is NoneType:
        return value is None
    origin = typing.get_origin(expected)
    if origin in (UnionType, typing.Union):
        return any(is_of_type(value, option) for option in typing.get_args(expected))
    if origin is typing.Literal:
        return value in typing.get_args(expected)
    expected = origin or expected
    # bool is a subclass of int: without this, True would do as a number of epochs
    if isinstance(value, bool):
        return expected in (bool, object)
    if expected is float:
        return isinstance(value, int | float)
    if isinstance(value, str):
        return expected in (str, object)  # a text is a sequence as well, and never meant as one
    # isinstance refuses type variables and other annotations that are no classes
    try:
        return isinstance(value, expected)
    except TypeError:
        return True


def format_type(expected: Any) -> str:
    """Return an annotated type as a message names it, e.g. 'int or None'."""
    if typing.get_origin(expected) in (UnionType, typing.Union):
        return " or ".join(map(format_type, typing.get_args(expected)))
    if expected is None or expected is NoneType:
        return "None"
    if typing.get_origin(expected) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(expected)))
    return getattr(typing.get_origin(expected) or expected, "__name__", str(expected))


def parameters_of(cls: Any) -> Mapping[str, inspect.Parameter] | None:
    """Return what a class or function takes, by name; None where it does not tell."""
    try:
        return inspect.signature(cls).parameters
    except (TypeError, ValueError):  # some C classes do not tell
        return None


def accepted_arguments(cls: Any) -> set[str] | None:
    """Return the names a constructor takes; None where it takes any (**kwargs)."""
    parameters = parameters_of(cls)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return set(parameters)


def required_arguments(cls: Any) -> list[str]:
    """Return the names of the arguments that have no default, in their order."""
    return [
        name
        for name, parameter in (parameters_of(cls) or {}).items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


class Argument(NamedTuple):
    """What a setting or an argument may be.

    Attributes:
        expected: its annotated type; `Any` where it is not known.
        default: what it is where nothing is stated; None too where there is no default.
    """

    expected: Any
    default: Any


@functools.cache
def arguments_of(cls: Any) -> Mapping[str, Argument]:
    """Return the arguments of a constructor by name."""
    parameters = parameters_of(cls)
    if parameters is None:
        return {}
    try:
        hints = typing.get_type_hints(cls.__init__ if isinstance(cls, type) else cls)
    except (NameError, TypeError, AttributeError):
        hints = {}  # names that are imported for type checkers only
    arguments = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        expected = hints.get(name, Any)
        # `x: int = None` is written by some libraries and means what it does
        optional = parameter.default is None and expected is not Any
        arguments[name] = Argument(
            typing.Optional[expected] if optional else expected,  # noqa: UP045
            None if parameter.default is parameter.empty else parameter.default,
        )
    return arguments
