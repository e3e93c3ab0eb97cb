"""A class and the arguments it is to be built with, and values that nobody can change."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from configuration.plain import to_plain
from runtime.errors import UserError, nearest


class Part:
    """A class and the keyword arguments it is to be built with, e.g. `Part(FlipWave, p=0.5)`.

    Configurations hold parts and not objects: reading them costs nothing, they can be printed,
    and two experiments never share a module.

    Raises:
        UserError: an argument that the class does not take; or, when it is built, does not stand.
    """

    __slots__ = ("cls", "params")

    def __init__(self, cls: type, **params: Any) -> None:
        check_params(cls, params, f"Part({cls.__name__})")
        self.cls = cls
        self.params = freeze(params)

    def build(self, **extra: Any) -> Any:
        """Return a new object; `extra` adds arguments known only at run time."""
        return build(self.cls, thaw(self.params) | extra)

    def to_plain(self) -> dict[str, Any]:
        return {"class": self.cls.__name__, **to_plain(self.params)}

    def __repr__(self) -> str:
        return f"{self.cls.__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.cls, self.params) == (other.cls, other.params)

    def __hash__(self) -> int:
        return hash((self.cls, repr(self.params)))


def build(cls: type, params: Mapping[str, Any], *given: Any) -> Any:
    """Return a new object of what a configuration says, behind what is `given` at run time.

    Raises:
        UserError: the class cannot do with these arguments.
    """
    try:
        return cls(*given, **params)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{cls.__name__} cannot be made as the config says ({error}): change its arguments"
        ) from error


def freeze(value: Any) -> Any:
    """Return `value` with its mappings read-only and its lists as tuples, all the way down."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """Return a frozen value as plain dicts and tuples, free for its receiver to change."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(thaw(item) for item in value)
    return value


def accepted_arguments(cls: type) -> set[str] | None:
    """Return the names a constructor takes; None where it takes any (**kwargs)."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # some C classes do not tell
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}


def check_params(cls: type, params: Mapping[str, Any], where: str) -> None:
    known = accepted_arguments(cls)
    for key in params:
        if known is not None and key not in known:
            raise UserError(
                f"{where}: {cls.__name__} takes no argument {key!r}{nearest(key, known)}"
            )
