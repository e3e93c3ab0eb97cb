"""Configurations in JSON's own types, and as text for a person."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def to_plain(value: Any) -> Any:
    """Return `value` in JSON's own types: classes by name, mappings as dicts, tuples as lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # Before the test for classes: a config is a class with a `to_plain` of its own.
    if hasattr(value, "to_plain"):
        return value.to_plain()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        return value.__name__
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} has no plain form")


def format_config(plain: Mapping[str, Any], indent: str = "") -> str:
    """Return a resolved configuration, in JSON's own types, as text: a setting a line."""
    lines = []
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:", format_config(value, indent + "    ")]
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            parts = ["  ".join(f"{k}={v}" for k, v in part.items()) for part in value]
            lines += [f"{indent}{key}:", *(f"{indent}    - {part}" for part in parts)]
        else:
            lines.append(f"{indent}{key} = {value}")
    return "\n".join(lines)
