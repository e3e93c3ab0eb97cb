"""The code of an own file of experiments that decides what a run learns, as digests.

Settings are compared by value. A transform, network or loss of an own file is named by a setting,
and its code may change while its name stays. What is digested is therefore the source of the
classes that an experiment names and, of the same file and of files in its folder, of everything
that they refer to. Comments, docstrings and formatting do not count, and neither does the rest of
the file: another experiment may be added to it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from configuration.config_class import ConfigMeta
from configuration.recorded_config import classes_in
from experiments.fold_record import FoldRecord
from runtime.console import LOGGER

PROJECT = Path(__file__).resolve().parent.parent
ALLOW = "--allow_changed_code"


# --- comparing -------------------------------------------------------------------------------


def recorded_code(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests that a fold's last start recorded; {} of older runs and of configs.py."""
    return dict((state.get("adjusted") or [{}])[-1].get("code") or {})


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what differs between two records of code, e.g. 'mine.Quieter'.

    Where one of them is empty, nothing is known, and nothing differs.
    """
    if not (before and now):
        return []
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def warn_of_changed_code(config: ConfigMeta, records: Iterable[FoldRecord]) -> None:
    """Log which folds were trained with other code of an own file than predicts with them now."""
    now = own_code_digests(config)
    for record in records:
        changed = changed_code(recorded_code(record.state), now)
        if changed:
            LOGGER.warning(
                f"{record.path} was trained with other code of {', '.join(changed)} than there is "
                f"now, which these predictions are made with"
            )


# --- digests ---------------------------------------------------------------------------------


def own_code_digests(config: ConfigMeta) -> dict[str, str]:
    """Return a digest of the source of everything own that an experiment uses.

    Returns:
        By name, e.g. 'mine.Quieter' or 'mine.LEAST'; {} for an experiment of configs.py.
    """
    homes = [
        sys.modules[parent.__module__]
        for parent in config.__mro__
        # `load_config` marks the experiments of a file or package with where they stand.
        if ":" in str(vars(parent).get("__reference__", "")) and parent.__module__ in sys.modules
    ]
    if not homes:
        return {}
    reader = OwnSource(homes)
    for name, cls in classes_in({key: getattr(config, key) for key in config.fields()}).items():
        reader.add(cls.__module__, name)
    return dict(sorted(reader.digests.items()))


@dataclass
class TopLevel:
    """The statements of a module by the names that they define.

    Attributes:
        defined: name -> the statements that define it.
        imported: name -> (module, name in it), or (module, None) for the module itself.
    """

    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: dict[str, tuple[str, str | None]] = field(default_factory=dict)


class OwnSource:
    """Follows names through own modules and digests what they stand for.

    Args:
        homes: the modules in which the experiment and its own parents stand.

    Attributes:
        digests: of the source of what was found so far, by 'module.name'.
    """

    def __init__(self, homes: Iterable[ModuleType]) -> None:
        self.homes = {module.__name__ for module in homes}
        self.folders = {
            folder
            for module in homes
            # a file among those of the project does not make the project one's own
            if (folder := folder_of(module)) is not None and not PROJECT.is_relative_to(folder)
        }
        self.digests: dict[str, str] = {}
        self.read: dict[str, TopLevel | None] = {}

    def add(self, module: str, name: str | None) -> None:
        """Digest what a module defines under a name, or all of it, and what that refers to."""
        top = self.top_level(module)
        if top is None:
            return
        if name is None:
            for each in top.defined:
                self.add(module, each)
            return
        key = f"{module}.{name}"
        if key in self.digests:
            return
        if name in top.imported:
            self.add(*top.imported[name])
        # Experiments are compared setting by setting.
        if name not in top.defined or isinstance(
            getattr(sys.modules[module], name, None), ConfigMeta
        ):
            return
        statements = top.defined[name]
        text = "\n".join(ast.unparse(without_docstrings(each)) for each in statements)
        self.digests[key] = hashlib.sha256(text.encode()).hexdigest()[:16]
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name):
                    self.add(module, node.id)

    def top_level(self, module: str) -> TopLevel | None:
        """Return the statements of a module; None where it is not own, or has no source."""
        if module not in self.read:
            self.read[module] = self.parse(module) if self.is_own(module) else None
        return self.read[module]

    def is_own(self, module: str) -> bool:
        if module in self.homes:
            return True
        path = getattr(sys.modules.get(module), "__file__", None)
        if path is None or "site-packages" in Path(path).parts:
            return any(module.startswith(f"{home.split('.')[0]}.") for home in self.homes)
        return any(Path(path).resolve().is_relative_to(folder) for folder in self.folders)

    def parse(self, module: str) -> TopLevel | None:
        path = getattr(sys.modules.get(module), "__file__", None)
        if path is None or not path.endswith(".py"):
            return None  # built in, or compiled
        top = TopLevel()
        for statement in ast.parse(Path(path).read_text()).body:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    name = alias.asname or alias.name.split(".")[0]
                    top.imported[name] = (alias.name if alias.asname else name, None)
            elif isinstance(statement, ast.ImportFrom):
                origin = absolute_name(statement, module)
                for alias in statement.names:
                    deeper = f"{origin}.{alias.name}"
                    found = (deeper, None) if deeper in sys.modules else (origin, alias.name)
                    top.imported[alias.asname or alias.name] = found
            else:
                for name in names_defined_by(statement):
                    top.defined.setdefault(name, []).append(statement)
        return top


def folder_of(module: ModuleType) -> Path | None:
    """Return the folder of a file of experiments, or of the package that it belongs to."""
    first = sys.modules.get(module.__name__.split(".")[0], module)
    path = getattr(first, "__file__", None)
    return None if path is None else Path(path).resolve().parent


def absolute_name(statement: ast.ImportFrom, module: str) -> str:
    """Return the module that 'from ... import' names, also where it is relative."""
    if not statement.level:
        return statement.module or ""
    # Relative to the package: the module itself where it is one, else what it lies in.
    loaded = sys.modules.get(module)
    package = module if hasattr(loaded, "__path__") else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * statement.level + (statement.module or ""), package)


def names_defined_by(statement: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    # Assignments, and whatever an `if` or `try` at the top holds.
    names = {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return names | {
        node.name
        for node in ast.walk(statement)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def without_docstrings(statement: ast.stmt) -> ast.stmt:
    """Return a statement with its docstrings, and those of what it holds, taken out."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                # a body cannot be empty
                node.body = node.body[1:] or [ast.Pass()]
    return statement
