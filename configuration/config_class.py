"""The rules that a class in configs.py obeys.

* A child class states only what differs; an attribute its parent does not have is an error.
* Whatever is stated is frozen, so that no class can change another through a shared dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from configuration.class_with_arguments import check_arguments, class_of_arguments, freeze
from configuration.json_types import to_plain
from configuration.types import format_type, is_of_type
from runtime.errors import UserError, nearest


@dataclass(frozen=True)
class ClassChoices:
    """The classes that a setting can name.

    Attributes:
        kind: what they are, for messages, e.g. 'loss'.
        classes: by name.
        beside: whether the class stands beside the mapping of its arguments, as `optimizer` and
            `optimizer_params` do; else both are in a `Part`.
        given: arguments that the program gives at run time and that no config states.
        missing: what to say of classes that the installed packages do not have, by name.
    """

    kind: str
    classes: Mapping[str, type]
    beside: bool = False
    given: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


# A setting's path, e.g. ("transforms", "train"), to what it can name; None where it names none.
FindChoices = Callable[[tuple[str, ...]], ClassChoices | None]


class ConfigMeta(type):
    """Checks a configuration when it is defined and forbids changing it afterwards.

    The root, a class without a configuration as its parent, annotates every setting. Its module
    must not postpone annotations (`from __future__ import annotations`): they are checked as the
    types they are. With `find_choices` it also says which classes can be named in `--set`.
    """

    registry: dict[str, ConfigMeta] = {}  # noqa: RUF012 - one registry for all

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        register: bool = True,
        find_choices: FindChoices | None = None,
    ) -> ConfigMeta:
        parent = bases[0] if bases else None
        for key, value in namespace.items():
            # __module__, __doc__ and the like come from Python
            if key.startswith("__"):
                continue
            if parent is not None and key not in parent.fields():
                raise UserError(f"config {name}: no setting {key!r}{nearest(key, parent.fields())}")
            namespace[key] = freeze(value)
        if parent is not None and "published" in parent.fields():
            namespace.setdefault("published", freeze({}))  # a parent's scores are not the child's
        cls = super().__new__(mcs, name, bases, namespace)
        if parent is not None:
            cls.check()
            if register:
                mcs._register(cls, namespace)
        return cls

    def __init__(
        cls,
        name: str,
        bases: tuple,
        namespace: dict,
        *,
        find_choices: FindChoices | None = None,
        **_: Any,
    ) -> None:
        super().__init__(name, bases, namespace)
        if not bases:
            cls.__find_choices__ = find_choices  # children inherit it

    @classmethod
    def _register(mcs, cls: ConfigMeta, namespace: Mapping[str, Any]) -> None:
        if "name" not in namespace:
            raise UserError(f"config {cls.__name__}: give it a `name` of its own")
        # Two configs of one name would share a run directory. The class may be defined again, as
        # when a notebook reloads its module.
        for other in mcs.registry.values():
            if other.name == cls.name and other.__name__ != cls.__name__:
                raise UserError(
                    f"config {cls.__name__}: the name {cls.name!r} belongs to {other.__name__}"
                )
            if other.__name__ == cls.__name__ and other.__module__ != cls.__module__:
                raise UserError(
                    f"config {cls.__name__}: {other.__module__} has a config of this name: give "
                    f"the class another one"
                )
        mcs.registry[cls.__name__] = cls

    def __setattr__(cls, key: str, value: Any) -> None:
        # Python sets some of these itself, and `__init__` sets `__find_choices__`.
        if key.startswith("__"):
            super().__setattr__(key, value)
            return
        raise UserError(f"config {cls.__name__} is fixed: write a subclass or use --set {key}=…")

    def __delattr__(cls, key: str) -> None:
        raise UserError(f"config {cls.__name__} is fixed: {key!r} cannot be removed")

    def root(cls) -> ConfigMeta:
        """Return the class that annotates every setting and holds their defaults."""
        parent = cls.__base__
        return parent.root() if isinstance(parent, ConfigMeta) else cls

    def setting_types(cls) -> dict[str, Any]:
        """Return the annotated type of every setting, in the order of the root."""
        return dict(cls.root().__annotations__)

    def fields(cls) -> list[str]:
        """Return the names of all settings, in the order of the root."""
        return list(cls.root().__annotations__)

    def class_choices(cls, path: tuple[str, ...]) -> ClassChoices | None:
        """Return the classes that the setting at a path can name; None where it names none."""
        return None if cls.__find_choices__ is None else cls.__find_choices__(path)

    def check(cls) -> None:
        """Check every setting's type and every dict of arguments against what it is for."""
        # Inherited ones too: a child may state a class and inherit its arguments, or the reverse.
        values = {key: getattr(cls, key) for key in cls.fields()}
        for key, expected in cls.setting_types().items():
            if not is_of_type(values[key], expected):
                raise UserError(
                    f"config {cls.__name__}: {key} = {values[key]!r} is a "
                    f"{type(values[key]).__name__}, expected {format_type(expected)}"
                )
        for key, value in values.items():
            owner = class_of_arguments(key, values)
            if owner is not None:
                check_arguments(owner, value, f"config {cls.__name__}.{key}")

    @property
    def reference(cls) -> str:
        """The word that `--config` takes for this experiment: its class name, or file.py:Class."""
        return getattr(cls, "__reference__", cls.__name__)

    def to_plain(cls) -> dict[str, Any]:
        """Return the resolved configuration in JSON's own types."""
        place = {} if cls.reference == cls.__name__ else {"reference": cls.reference}
        values = {key: to_plain(getattr(cls, key)) for key in cls.fields()}
        return {"class": cls.__name__, **place, **values}


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


def config_spelt(name: str) -> ConfigMeta | None:
    """Return the configuration whose class or run is called so but for case and underscores.

    None where there is none, or more than one.
    """
    plain = name.replace("_", "").casefold()
    found = [
        config
        for config in ConfigMeta.registry.values()
        if plain in {word.replace("_", "").casefold() for word in (config.__name__, config.name)}
    ]
    return found[0] if len(found) == 1 else None


def published_stack() -> list[ConfigMeta]:
    """Return the experiments of the published stack, in the order of its columns."""
    finals = [config for config in ConfigMeta.registry.values() if config.published]
    return sorted(finals, key=lambda config: config.published["column"])
