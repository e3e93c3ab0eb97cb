"""The page's HTML, from the Jinja templates in assets/templates.

Every text that a template is given is escaped, so that names and settings stay text whatever they
contain; only `Markup`, which other templates and reporting/cells.py make, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ASSETS = Path(__file__).parent / "assets"


@cache
def environment(*folders: Path) -> Environment:
    """Return what renders the templates of some folders; the first that has one gives it."""
    return Environment(
        loader=FileSystemLoader([*folders, ASSETS / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,  # a name that is misspelt is an error, and no empty text
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, folders: Sequence[Path] = (), **values: Any) -> Markup:
    """Return the HTML of a template.

    Args:
        template: its file name.
        folders: where to look for it before assets/templates.
        values: by the names that the template has for them.
    """
    return Markup(environment(*folders).get_template(template).render(**values))
