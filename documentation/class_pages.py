"""Pages of the classes that a config can name: what they do, their arguments, shapes and units."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import configs  # noqa: F401 - importing it registers the experiments
import transforms
from benchmarks.harness.measurements import markdown_table
from documentation import REFERENCE
from documentation.docstrings import (
    escape_cell,
    escape_text,
    explain_arguments,
    format_body,
    own_docstring,
)
from experiments import classes_by_name
from physics.observation import Observation
from physics.population import Population
from spectrograms import MultiSpectrogram

# What a class is called with; the first of these that says what it returns is shown.
CALLS = ("forward", "__call__", "draw", "sample", "__getitems__")
# Classes of torch, timm and scikit-learn have documentation of their own.
OTHERS = ("torch", "timm", "sklearn")


@dataclass(frozen=True)
class ClassPage:
    """A page with classes of one or several kinds.

    Attributes:
        file: its name in docs/reference/.
        kinds: the heading of each part, and the classes in it.
    """

    file: str
    kinds: Mapping[str, Callable[[], Sequence[type]]]

    @property
    def path(self) -> Path:
        return REFERENCE / self.file


def named(find: Callable[[], Any], *more: type) -> Callable[[], list[type]]:
    """Return the classes that `--set` can name for a setting, and more that a config can hold."""

    def classes() -> list[type]:
        own = [c for c in find().classes.values() if c.__module__.split(".")[0] not in OTHERS]
        return [*own, *more]

    return classes


PAGES = (
    ClassPage(
        "transforms.md",
        {
            "Transforms of strain": named(
                classes_by_name.waveform_transforms, transforms.Compose, transforms.OneOf
            ),
            "Transforms of images": named(classes_by_name.image_transforms),
        },
    ),
    ClassPage("front-ends.md", {"Front-ends": named(classes_by_name.front_ends, MultiSpectrogram)}),
    ClassPage("networks.md", {"Networks": named(classes_by_name.networks)}),
    ClassPage(
        "losses-and-metrics.md",
        {"Losses": named(classes_by_name.losses), "Metrics": named(classes_by_name.scores)},
    ),
    ClassPage(
        "data-sets-and-training.md",
        {
            "Data sets": named(classes_by_name.datasets_by_name),
            "Noise of simulated samples": named(classes_by_name.noises),
            "Targets": named(classes_by_name.CHOICES["targets"]),
            "Side targets": named(classes_by_name.CHOICES["side_targets"]),
            "Pseudo-labels": named(classes_by_name.label_sources),
            "Hooks": named(classes_by_name.hooks),
            "Callbacks": named(classes_by_name.callbacks),
            "Schedules": named(classes_by_name.schedules),
            "Around the optimiser": lambda: [
                cls
                for key in ("parameter_groups", "lookahead", "freeze", "checkpoint_average")
                for cls in classes_by_name.CHOICES[key]().classes.values()
            ],
        },
    ),
    ClassPage(
        "observation-and-population.md",
        {
            "Observation and population": lambda: [Observation, Population],
            "Laws of masses": named(classes_by_name.CHOICES["masses"]),
            "Laws of spins": named(classes_by_name.CHOICES["spins"]),
            "Laws of distance": named(classes_by_name.CHOICES["distance"]),
        },
    ),
)


def format_default(value: Any) -> str:
    """Return a default as a config would write it."""
    if isinstance(value, type):
        return f"`{value.__name__}`"
    # The experiment gives its own in place of these, whose text would be long.
    if isinstance(value, Observation | Population):
        return "the competition's"
    return f"`{value!r}`"


def format_type(annotation: Any) -> str:
    """Return an annotation as it is written; what has none has no type."""
    if annotation is inspect.Parameter.empty:
        return ""
    return f"`{getattr(annotation, '__name__', annotation)}`".replace("|", r"\|")


def argument_rows(cls: type) -> list[list[str]]:
    """Return name, type, default and meaning of every argument of a class."""
    meanings = explain_arguments(cls)
    rows = []
    for name, parameter in inspect.signature(cls).parameters.items():
        default = parameter.default
        missing = default is inspect.Parameter.empty or default is MISSING
        rows.append(
            [
                f"`{name}`",
                format_type(parameter.annotation),
                "" if missing else format_default(default).replace("|", r"\|"),
                escape_cell(meanings.get(name, "")),
            ]
        )
    return rows


def format_call(cls: type) -> str:
    """Return what a class is called with and returns, with shapes; empty where nothing says so."""
    for name in CALLS:
        for parent in cls.__mro__:
            call = vars(parent).get(name)
            if call is None or parent.__module__.split(".")[0] in (*OTHERS, "builtins"):
                continue
            text = inspect.cleandoc(call.__doc__ or "").split("\n\n")[0]
            if text:
                shown = "" if name in ("forward", "__call__") else f"`{name}`: "
                return f"{shown}{' '.join(text.split())}"
    return ""


def format_class(cls: type, level: int) -> list[str]:
    """Return the lines of one class: what it does, how it is called, its arguments.

    Args:
        level: of its heading, 1 for the title of a page.
    """
    doc = own_docstring(cls)
    lines = [f"{'#' * level} {cls.__name__}", "", *format_body(doc.body), ""]
    if call := format_call(cls):
        lines += [f"**Call.** {escape_text(call)}", ""]
    rows = argument_rows(cls)
    if rows:
        lines += [*markdown_table(("argument", "type", "default", "meaning"), rows), ""]
    source = f"{cls.__module__.replace('.', '/')}.py"
    return [*lines, f"Source: [{source}](../../{source})", ""]


def format_page(page: ClassPage) -> list[str]:
    """Return the generated lines of a page, kind by kind."""
    lines, several = [], len(page.kinds) > 1
    for title, classes in page.kinds.items():
        if several:
            lines += [f"## {title}", ""]
        for cls in classes():
            lines += format_class(cls, level=3 if several else 2)
    return lines
