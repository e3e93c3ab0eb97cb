"""Packages that come with an extra of pyproject.toml and are imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from runtime.errors import UserError


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra of pyproject.toml brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there but misses a part of its own is another fault: let it be seen.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise UserError(
            f"the package {module.split('.')[0]!r} is needed here and not installed: "
            f"install it with `pip install -e '.[{extra}]'`"
        ) from error
