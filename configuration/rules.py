"""The rules that a class in configs.py obeys.

* A child class states only what differs; an attribute its parent does not have is an error.
* Whatever is stated is frozen, so that no class can change another through a shared dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any

from configuration.parts import check_params, freeze
from configuration.plain import to_plain
from runtime.errors import UserError, nearest


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
