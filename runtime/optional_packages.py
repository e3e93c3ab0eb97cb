"""Optional packages: installed with an extra of pyproject.toml, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from runtime.errors import UserError


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module and return it.

    Args:
        module: dotted name.
        extra: of pyproject.toml, with which its package is installed.

    Raises:
        UserError: the package is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # An installed package that lacks a package of its own is another error.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise UserError(
            f"the package {module.split('.')[0]!r} is needed here and not installed: "
            f"install it with `pip install -e '.[{extra}]'`"
        ) from error
