"""An experiment back from the config.json of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from runtime.errors import UserError
from runtime.files import read_json_object

# Written beside an observation; it follows from the other values.
DERIVED = ("digest",)


def read_recorded_config(path: Path, find: Callable[[str], ConfigMeta]) -> ConfigMeta:
    """Return the experiment that a run's config.json describes, as it was resolved.

    Its class, by name, gives what the file does not say better: classes are looked up among those
    that the experiment uses itself and among those that `--set` can name.

    Args:
        path: the file.
        find: returns the experiment that `--config` names.

    Raises:
        UserError: there is no such file, it is damaged, or it names an experiment or a class that
            is not there.
    """
    if not path.is_file():
        raise UserError(f"--config {path}: there is no such file: check its path")
    plain = read_json_object(path, {"class": str, "name": str}, "restore it", ("class", "name"))
    parent = find_source(plain, path, find)
    reader = ConfigReader(parent, path)
    changed = {}
    for key in parent.fields():
        if key not in plain:
            continue  # a setting that is younger than the run keeps its default
        now = getattr(parent, key)
        if without_derived(to_plain(now)) != without_derived(plain[key]):
            changed[key] = reader.value(plain[key], now, (key,))
    unknown = [key for key in plain if key not in (*parent.fields(), "class", "reference")]
    if unknown:
        raise UserError(
            f"--config {path}: there is no setting {unknown[0]!r} in this version: remove it from "
            f"a copy of the file, or use the version that wrote it"
        )
    changed.setdefault("published", parent.published)
    config = ConfigMeta(parent.__name__, (parent,), changed, register=False)
    config.__reference__ = str(path)
    return config


def find_source(
    plain: Mapping[str, Any], path: Path, find: Callable[[str], ConfigMeta]
) -> ConfigMeta:
    """Return the class that a config.json was resolved from.

    Raises:
        UserError: it is not there any more.
    """
    reference = str(plain.get("reference", plain["class"]))
    try:
        return find(reference)
    except UserError as error:
        raise UserError(
            f"--config {path} was resolved from {reference}, which is not there: {error}"
        ) from error


def without_derived(plain: Any) -> Any:
    """Return a value of a config.json without what was added to it."""
    if isinstance(plain, Mapping):
        return {key: without_derived(item) for key, item in plain.items() if key not in DERIVED}
    if isinstance(plain, list):
        return [without_derived(item) for item in plain]
    return plain


class ConfigReader:
    """Values of a config.json as a config holds them.

    Args:
        parent: the experiment that the file was resolved from.
        path: of the file, for messages.
    """

    def __init__(self, parent: ConfigMeta, path: Path) -> None:
        self.parent, self.path = parent, path
        self.used = classes_in({key: getattr(parent, key) for key in parent.fields()})

    def value(self, plain: Any, now: Any, keys: tuple[str, ...]) -> Any:
        """Return a value.

        Args:
            plain: of the file.
            now: what the parent has there.
            keys: where it stands, without positions.
        """
        if isinstance(plain, Mapping):
            below = now.params if isinstance(now, Part) else now
            below = below if isinstance(below, Mapping) else {}
            if "class" in plain:
                return self.part(plain, below, keys)
            return {
                key: self.value(item, below.get(key), (*keys, key)) for key, item in plain.items()
            }
        if isinstance(plain, list):
            return tuple(self.value(item, None, keys) for item in plain)
        # A word is a class where only a class can stand.
        names_class = isinstance(now, type) or (now is None and self.is_class_beside(keys))
        if isinstance(plain, str) and names_class:
            return self.find_class(plain, keys)
        return plain

    def part(
        self, plain: Mapping[str, Any], below: Mapping[str, Any], keys: tuple[str, ...]
    ) -> Part:
        cls = self.find_class(plain["class"], keys)
        params = {
            key: self.value(item, below.get(key), (*keys, key))
            for key, item in plain.items()
            if key != "class" and not (is_dataclass(cls) and key in DERIVED)
        }
        return Part(cls, **params)

    def is_class_beside(self, keys: tuple[str, ...]) -> bool:
        choices = self.parent.class_choices(keys[-1:])
        return choices is not None and choices.beside

    def find_class(self, name: Any, keys: tuple[str, ...]) -> type:
        if name in self.used:
            return self.used[name]
        choices = self.parent.class_choices(keys)
        if choices is not None and name in choices.classes:
            return choices.classes[name]
        raise UserError(
            f"--config {self.path}: {'.'.join(keys)} names the class {name!r}, which is not there: "
            f"use the version, or the file of experiments, that the run was trained with"
        )


def classes_in(value: Any) -> dict[str, type]:
    """Return the classes that a config's values name, by name."""
    if isinstance(value, type):
        return {value.__name__: value}
    if isinstance(value, Part):
        return {value.cls.__name__: value.cls} | classes_in(value.params)
    found: dict[str, type] = {}
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for item in value:
            found |= classes_in(item)
    return found
