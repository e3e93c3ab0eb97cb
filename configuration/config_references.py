"""What a command line's `--config` names: an experiment of configs.py, of a file, or of a run.

    Demo                        a class of configs.py; `demo`, the name of its run, serves as well,
                                and so does my_try for MyTry whatever its run is called
    path/to/mine.py:MyTry       a class of a file; without ':MyTry' its only one
    package.module:MyTry        a class of an installed package
    results/demo/config.json    the experiment of a run, as it was resolved then

A file's own datasets, transforms, networks, losses, metrics, callbacks and schedules need no
registration: its config names the classes. Its folder is put on Python's path and the file is
imported as a module of its own name, so that reader processes, torchrun and pickles find these
classes under the same name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from configuration.config_class import ConfigMeta, config_named, config_spelt, find_config
from configuration.recorded_config import read_recorded_config
from runtime.errors import UserError, nearest


def load_config(reference: str) -> ConfigMeta:
    """Return the experiment that `--config` names; see the module for what can be said.

    Raises:
        UserError: there is no such file, module or class; the file cannot be imported or defines
            an experiment whose name is taken; a config.json does not describe an experiment.
    """
    if reference.endswith(".json"):
        return read_recorded_config(Path(reference), load_config)
    place, colon, name = reference.rpartition(":")
    if not colon:
        place, name = (reference, "") if reference.endswith(".py") else ("", reference)
    if not place:
        named = None if name in ConfigMeta.registry else config_named(name) or config_spelt(name)
        return find_config(name) if named is None else named
    if place.endswith(".py"):
        module = import_file(Path(place))
    else:
        module = import_by_name(place, reference)
    return find_in_module(module, place, name)


def import_file(path: Path) -> ModuleType:
    """Import a file of experiments as a module of its own name.

    Raises:
        UserError: there is no such file, its name is no module's or another module's, or it raises
            while it is imported.
    """
    if not path.is_file():
        raise UserError(f"--config {path}: there is no such file: check its path")
    path = path.resolve()
    stem = path.stem
    if not stem.isidentifier():
        raise UserError(
            f"--config {path}: {stem!r} is no name of a Python module: rename the file, to "
            f"letters, digits and underscores"
        )
    importlib.invalidate_caches()  # the file may be younger than Python's list of its folder
    # A module of that name, imported or only to be found, would be hidden by the file, or hide it.
    there = importlib.util.find_spec(stem)
    if there is None:
        # Processes that multiprocessing spawns get this path as well.
        sys.path.append(str(path.parent))
        importlib.invalidate_caches()
        there = importlib.util.find_spec(stem)
    if there is None or there.origin is None or Path(there.origin).resolve() != path:
        other = getattr(there, "origin", None) or "of Python itself"
        raise UserError(
            f"--config {path}: there is another module {stem!r} ({other}): rename the file"
        )
    return import_module(stem, str(path))


def import_by_name(module: str, reference: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        UserError: it is not installed, or raises while it is imported.
    """
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a parent is missing; an empty or relative name
        found = None
    if found is None:
        raise UserError(
            f"--config {reference}: Python finds no module {module!r}: install its package, or "
            f"name its file, path/to/{module.rpartition('.')[2] or 'mine'}.py:MyTry"
        )
    return import_module(module, module)


def import_module(name: str, where: str) -> ModuleType:
    """Import a module and turn its mistakes into one sentence with the line that made them.

    Raises:
        UserError: it raises while it is imported.
    """
    try:
        return importlib.import_module(name)
    except UserError as error:  # a config's own mistake
        raise UserError(f"{where}: {error}") from error
    except Exception as error:
        # Anything may go wrong in a file that is not ours; the line says where.
        line = line_of_error(error, where)
        raise UserError(
            f"{where} cannot be imported ({type(error).__name__}: {error}{line}): mend it first; "
            f"`python {where}` shows the same with all that led there"
        ) from error


def line_of_error(error: Exception, where: str) -> str:
    """Return ', line 7' where an exception passed through a file, else ''."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f", line {error.lineno}"
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == where:
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def find_in_module(module: ModuleType, place: str, name: str) -> ConfigMeta:
    """Return the experiment of that name that a module defines, and mark all with their place.

    Raises:
        UserError: there is none of that name; or none was named and there is not just one.
    """
    own = {
        config.__name__: config
        for config in vars(module).values()
        if isinstance(config, ConfigMeta)
        and config.__module__ == module.__name__
        and config.root() is not config
    }
    for config in own.values():
        # What messages and the pipeline's command lines call it from now on.
        config.__reference__ = f"{place}:{config.__name__}"
    if name in own:
        return own[name]
    if not own:
        raise UserError(
            f"--config {place}: it defines no experiment: write a class that inherits from one of "
            f"configs.py, with a name of its own; `python train.py --new mine.py` writes a first "
            f"one"
        )
    if not name and len(own) == 1:
        return next(iter(own.values()))
    choices = ", ".join(f"{place}:{known}" for known in own)
    if not name:
        raise UserError(f"--config {place}: it defines {len(own)} experiments: choose {choices}")
    raise UserError(
        f"--config {place}:{name}: it defines no such experiment{nearest(name, own)}; there are "
        f"{choices}"
    )
