"""How an experiment is written down: classes that cannot be misspelt, shared or changed.

`configs.py` holds the experiments themselves. This file holds the rules they obey:

* a child class states only what differs; an attribute its parent does not have is an error;
* whatever is stated is frozen, so that no class can change another through a shared dict;
* a value given on the command line is checked against what it replaces; nothing is evaluated
  as code.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType, NoneType, UnionType
from typing import Any

from utils import UserError, nearest, to_plain


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


class ConfigMeta(type):
    """Checks a configuration when it is defined and forbids changing it afterwards.

    The base class annotates every setting. Its module must not postpone annotations
    (`from __future__ import annotations`): they are checked as the types they are.
    """

    registry: dict[str, ConfigMeta] = {}  # noqa: RUF012 - one registry for all

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, register: bool = True
    ) -> ConfigMeta:
        for key, value in namespace.items():
            if key.startswith("__"):
                continue
            if bases and not hasattr(bases[0], key):
                known = bases[0].fields()
                raise UserError(f"config {name}: no setting {key!r}{nearest(key, known)}")
            namespace[key] = freeze(value)
        if bases and "published" in bases[0].fields():
            namespace.setdefault("published", freeze({}))  # a parent's scores are not the child's
        cls = super().__new__(mcs, name, bases, namespace)
        if bases:
            cls.check()
            if register:
                mcs._register(cls, namespace)
        return cls

    def __init__(cls, name: str, bases: tuple, namespace: dict, **_: Any) -> None:
        super().__init__(name, bases, namespace)

    @classmethod
    def _register(mcs, cls: ConfigMeta, namespace: Mapping[str, Any]) -> None:
        if "name" not in namespace:
            raise UserError(f"config {cls.__name__}: give it a `name` of its own")
        for other in mcs.registry.values():
            if other.name == cls.name and other.__name__ != cls.__name__:
                raise UserError(
                    f"config {cls.__name__}: the name {cls.name!r} belongs to {other.__name__}"
                )
        mcs.registry[cls.__name__] = cls

    def __setattr__(cls, key: str, value: Any) -> None:
        if key.startswith("__"):
            super().__setattr__(key, value)
            return
        raise UserError(f"config {cls.__name__} is fixed: write a subclass or use --set {key}=…")

    def __delattr__(cls, key: str) -> None:
        raise UserError(f"config {cls.__name__} is fixed: {key!r} cannot be removed")

    def fields(cls) -> list[str]:
        """Return the names of all settings, in the order of the base class."""
        return list(cls.__mro__[-2].__annotations__)

    def check(cls) -> None:
        """Check every setting's type and every dict of arguments against what it is for."""
        root = cls.__mro__[-2]
        for key, expected in root.__annotations__.items():
            value = getattr(cls, key)
            if not matches(value, expected):
                raise UserError(
                    f"config {cls.__name__}: {key} = {value!r} is a {type(value).__name__}, "
                    f"expected {describe(expected)}"
                )
        for key in cls.fields():
            target = getattr(cls, key.removesuffix("_params"), None)
            if key.endswith("_params") and isinstance(target, type):
                check_params(target, getattr(cls, key), f"config {cls.__name__}.{key}")

    def to_plain(cls) -> dict[str, Any]:
        """Return the resolved configuration in JSON's own types."""
        return {"class": cls.__name__} | {key: to_plain(getattr(cls, key)) for key in cls.fields()}


def matches(value: Any, expected: Any) -> bool:
    """Whether a value is of an annotated type; an int serves as a float, a bool not as an int."""
    if isinstance(expected, UnionType):
        return any(matches(value, option) for option in expected.__args__)
    if expected is None:
        return value is None
    if isinstance(value, bool):
        return expected is bool
    if expected is float:
        return isinstance(value, int | float)
    return isinstance(value, expected)


def describe(expected: Any) -> str:
    if isinstance(expected, UnionType):
        return " or ".join(describe(option) for option in expected.__args__)
    return "None" if expected is NoneType else expected.__name__


def find_config(name: str) -> ConfigMeta:
    """Return the configuration class of that name.

    Raises:
        UserError: there is none.
    """
    if name not in ConfigMeta.registry:
        hint = nearest(name, ConfigMeta.registry)
        raise UserError(f"there is no config {name!r}{hint}; `python train.py --list` shows all")
    return ConfigMeta.registry[name]


def config_named(name: str) -> ConfigMeta | None:
    """Return the configuration whose run has that name, None where there is none."""
    found = [config for config in ConfigMeta.registry.values() if config.name == name]
    return found[0] if found else None


def published_stack() -> list[ConfigMeta]:
    """Return the experiments of the published stack, in the order of its columns."""
    finals = [config for config in ConfigMeta.registry.values() if config.published]
    return sorted(finals, key=lambda config: config.published["column"])


# --- --set key=value -------------------------------------------------------------------------


def override(cls: ConfigMeta, settings: Sequence[str]) -> ConfigMeta:
    """Return a child of `cls` with `key=value` settings, e.g. `model_params.spec_params.stride=8`.

    A key is a path: names of settings and arguments, and positions in lists, joined by dots.

    Raises:
        UserError: an unknown key, a value of another type, or no '='.
    """
    changed: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting!r}: expected key=value, e.g. --set num_epochs=3")
        first, *rest = key.strip().split(".")
        if first not in cls.fields():
            raise UserError(
                f"--set {setting!r}: no setting {first!r}{nearest(first, cls.fields())}"
            )
        current = changed.get(first, getattr(cls, first))
        known = None
        if first.endswith("_params") and isinstance(
            getattr(cls, first.removesuffix("_params"), None), type
        ):
            known = accepted_arguments(getattr(cls, first.removesuffix("_params")))
        expected = None if rest else cls.__mro__[-2].__annotations__[first]
        changed[first] = replace(current, rest, text.strip(), setting, known, expected)
    if not changed:
        return cls
    if "published" in cls.fields():
        changed.setdefault("published", cls.published)
    return ConfigMeta(cls.__name__, (cls,), changed, register=False)


def replace(
    current: Any, path: list[str], text: str, setting: str, known: set[str] | None, expected: Any
) -> Any:
    """Return `current` with the value at `path` replaced; everything else stays."""
    if not path:
        return parse_value(text, current, setting, expected)
    key, *rest = path
    if isinstance(current, Part):
        params = replace(current.params, path, text, setting, accepted_arguments(current.cls), None)
        return Part(current.cls, **thaw(params))
    if isinstance(current, Mapping):
        names = set(current) | (known or set())
        if key not in names:
            raise UserError(f"--set {setting!r}: no key {key!r}{nearest(key, names)}")
        item = replace(current.get(key), rest, text, setting, None, None)
        return {**current, key: item}
    if isinstance(current, tuple):
        if not key.isdecimal() or int(key) >= len(current):
            raise UserError(
                f"--set {setting!r}: {key!r} is not a position from 0 to {len(current) - 1}"
            )
        at = int(key)
        item = replace(current[at], rest, text, setting, None, None)
        return (*current[:at], item, *current[at + 1 :])
    raise UserError(f"--set {setting!r}: there is nothing below {key!r} to set")


def is_plain(value: Any) -> bool:
    """Whether a literal is made of what JSON can hold as well."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def parse_value(text: str, current: Any, setting: str, expected: Any) -> Any:
    """Read a literal and check it against the annotated type, or the type of the old value."""
    words = {"true": True, "false": False, "none": None, "null": None}
    try:
        value = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    wants_text = isinstance(current, str) or expected is str
    if wants_text and not isinstance(value, str) and value is not None:
        value = text  # name=2021 is a name
    if not is_plain(value):  # sets, bytes and such could not be written to config.json
        raise UserError(
            f"--set {setting!r}: expected numbers, text, True, False, None, or lists and dicts of "
            f"these"
        )
    if expected is None and current is not None:
        expected = tuple if isinstance(current, tuple) else type(current)
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(current, type | Part):
        raise UserError(f"--set {setting!r}: a class is chosen in configs.py, not here")
    if expected is not None and not matches(value, expected):
        raise UserError(
            f"--set {setting!r}: {text!r} is a {type(value).__name__}, "
            f"expected {describe(expected)} as in {current!r}"
        )
    return value
