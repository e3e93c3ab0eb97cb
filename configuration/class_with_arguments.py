"""A class and the arguments it is to be built with, and values that nobody can change."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import is_dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from configuration.json_types import to_plain
from configuration.types import accepted_arguments
from runtime.errors import UserError, nearest


class Part:
    """A class and the keyword arguments it is to be built with, e.g. `Part(FlipWave, p=0.5)`.

    Configurations hold parts and not objects: reading them costs nothing, they can be printed,
    and two experiments never share a module. One part is shared by many configurations, so it
    cannot be changed.

    Raises:
        UserError: an argument that the class does not take; or, when it is built, a value that the
            class refuses.
    """

    __slots__ = ("cls", "params")

    cls: type
    params: Mapping[str, Any]

    def __init__(self, cls: type, **params: Any) -> None:
        # Now and not when it is built: a mistake shows as soon as the configs are read.
        check_arguments(cls, params, f"Part({cls.__name__})")
        # past our own __setattr__, this once
        object.__setattr__(self, "cls", cls)
        object.__setattr__(self, "params", freeze(params))

    def __setattr__(self, key: str, value: Any) -> NoReturn:
        raise UserError(
            f"{self!r} is shared by configs and cannot be changed: write another Part, or use --set"
        )

    def __delattr__(self, key: str) -> NoReturn:
        self.__setattr__(key, None)

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings cannot be pickled, and the default would assign to the attributes.
        return restore_part, (self.cls, thaw(self.params))

    def build(self, **extra: Any) -> Any:
        """Return a new object; `extra` adds arguments known only at run time."""
        # A copy of the arguments, as an object may change what it gets.
        return build_object(self.cls, thaw(self.params) | extra)

    def build_for(self, **offered: Any) -> Any:
        """Return a new object; of the arguments that are offered, it gets those that it takes."""
        # A class that takes any argument (**kwargs) gets none: it does not ask for these.
        known = accepted_arguments(self.cls) or set()
        return self.build(**{key: value for key, value in offered.items() if key in known})

    def to_plain(self) -> dict[str, Any]:
        """Return the class's name and the arguments in JSON's own types.

        Of a frozen dataclass, which is nothing but its values, the defaults are written as well: a
        record of a run must not depend on what the defaults are later.
        """
        if is_dataclass(self.cls) and hasattr(self.cls, "to_plain"):
            return {"class": self.cls.__name__, **self.build().to_plain()}
        return {"class": self.cls.__name__, **to_plain(self.params)}

    def __repr__(self) -> str:
        return f"{self.cls.__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.cls, self.params) == (other.cls, other.params)

    def __hash__(self) -> int:
        return hash((self.cls, hashable(self.params)))


def restore_part(cls: type, params: Mapping[str, Any]) -> Part:
    """Return the part that a pickle or a copy describes."""
    return Part(cls, **params)


def build_object(cls: type, params: Mapping[str, Any], *given: Any) -> Any:
    """Return cls(*given, **params): `given` is known at run time, `params` stand in a config.

    Raises:
        UserError: the class refuses these arguments.
    """
    try:
        return cls(*given, **params)
    # What constructors raise for bad arguments; anything else is a bug and keeps its traceback.
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{cls.__name__} cannot be made as the config says ({error}): change its arguments"
        ) from error


def freeze(value: Any) -> Any:
    """Return `value` with its mappings read-only and its lists as tuples, all the way down."""
    if isinstance(value, Mapping):
        # Of a new dict: a proxy of the one we got would change with it.
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def hashable(value: Any) -> Hashable:
    """Return what has the same hash for equal frozen values: 1, 1.0 and True are equal."""
    if isinstance(value, Mapping):
        return frozenset((key, hashable(item)) for key, item in value.items())
    if isinstance(value, tuple):
        return tuple(hashable(item) for item in value)
    try:
        hash(value)
    except TypeError:
        # An array has no hash. Its contents count in comparisons only, so that equal ones agree.
        return None
    return value


def thaw(value: Any) -> Any:
    """Return a frozen value as plain dicts and tuples that its receiver may change."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(thaw(item) for item in value)
    return value


def arguments_key(key: str) -> str:
    """Return the setting that holds the arguments of the class under `key`.

    `optimizer` has `optimizer_params`; a spectrogram of an image model has `spec_params`.
    """
    return "spec_params" if key == "spectrogram" else f"{key}_params"


def class_of_arguments(key: str, values: Mapping[str, Any]) -> type | None:
    """Return the class whose arguments stand under `key`, None where there is none beside it."""
    owner = "spectrogram" if key == "spec_params" else key.removesuffix("_params")
    cls = values.get(owner)
    return cls if key.endswith("_params") and isinstance(cls, type) else None


def check_arguments(cls: type, params: Mapping[str, Any], where: str) -> None:
    """Raise a UserError for an argument that a class does not take, also of classes inside."""
    known = accepted_arguments(cls)
    for key, value in params.items():
        if known is not None and key not in known:
            raise UserError(
                f"{where}: {cls.__name__} takes no argument {key!r}{nearest(key, known)}"
            )
        # An image model has the arguments of its front-end among its own.
        inner = class_of_arguments(key, params)
        if inner is not None and isinstance(value, Mapping):
            check_arguments(inner, value, f"{where}.{key}")
