"""`--set key=value`: a child of a config with some settings replaced.

A value is checked against what it replaces. Nothing is evaluated as code.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from configuration.parts import Part, accepted_arguments, thaw
from configuration.rules import ConfigMeta, describe, matches
from runtime.errors import UserError, nearest


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
