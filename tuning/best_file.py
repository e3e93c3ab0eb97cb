"""The best trial of a study as a file of experiments, which `--config` of every command takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configuration.config_class import ConfigMeta
from runtime.files import atomic_path, move_aside

TEMPLATE = '''"""The best settings that a study of {reference} has found so far.

    python train.py --config {path}:{name}

Score of the trial: {score}. `python -m tuning` writes this file anew when a better
trial ends: copy it before you change it.
"""

{imports}
from configuration.overrides import override

SETTINGS = {settings}


class {name}(override({parent}, SETTINGS)):
    name = "{run}"
'''


def names_of_best(config: ConfigMeta, study: str) -> tuple[str, str]:
    """Return the class and the run of the best trial: 'Demo', 'demo' -> 'DemoTuned', 'demo_tuned'.

    A study of another name gives them its own, as Python imports each file by its name.
    """
    word = "".join(character if character.isalnum() else "_" for character in study)
    if not word[0].isalpha():
        word = f"study_{word}"  # no name of a Python module begins with a digit
    if study == config.name:
        return f"{config.__name__}Tuned", f"{word}_tuned"
    return "".join(part.capitalize() for part in word.split("_")) + "Tuned", f"{word}_tuned"


def best_file_path(config: ConfigMeta, study: str, folder: Path) -> Path:
    return folder / f"{names_of_best(config, study)[1]}.py"


def format_best_file(
    config: ConfigMeta, study: str, folder: Path, settings: Sequence[str], score: str
) -> str:
    """Return a file of experiments with one class, the experiment with the best trial's settings.

    Args:
        config: that was tuned, without settings of the command line.
        study: its name.
        folder: of the study, where the file will lie.
        settings: words of `--set`: those of the command line, then those of the trial.
        score: of the trial, in words.
    """
    name, run = names_of_best(config, study)
    if config.reference == config.__name__:
        imports, parent = f"from configs import {config.__name__}", config.__name__
    else:
        # The class stands in a file of the user's or in a config.json, and is found as then.
        imports = "from configuration.config_references import load_config"
        parent = f"load_config({str(absolute_reference(config.reference))!r})"
    listed = "".join(f"    {setting!r},\n" for setting in settings)
    return TEMPLATE.format(
        reference=config.reference,
        path=best_file_path(config, study, folder),
        name=name,
        run=run,
        parent=parent,
        imports=imports,
        score=score,
        settings=f"[\n{listed}]" if listed else "[]",
    )


def absolute_reference(reference: str) -> str:
    """Return what `--config` took with the whole path of its file, for any working directory."""
    place, colon, name = reference.rpartition(":")
    if reference.endswith(".json"):
        return str(Path(reference).resolve())
    if place.endswith(".py"):
        return f"{Path(place).resolve()}{colon}{name}"
    return reference


def write_best_file(path: Path, text: str, written_before: str | None) -> None:
    """Write the file, and keep one aside that somebody has changed since.

    Args:
        written_before: what this study has last written there; None where it has not.
    """
    if path.exists():
        there = path.read_text()
        if there == text:
            return
        if there != written_before:
            move_aside(path)
    with atomic_path(path) as temporary:
        temporary.write_text(text)
