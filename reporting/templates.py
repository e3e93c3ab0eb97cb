"""The page's HTML, from the Jinja templates in assets/templates.

Every text that a template is given is escaped, so that names and settings stay text whatever they
contain; only `Markup`, which other templates and reporting/cells.py make, is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

ASSETS = Path(__file__).parent / "assets"


@cache
def environment(*folders: Path) -> Environment:
    """Return what renders the templates of some folders; the first that has one gives it."""
    made = Environment(
        loader=FileSystemLoader([*folders, ASSETS / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,  # a name that is misspelt is an error, and no empty text
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"code_words": code_words, "minus": minus, "short_number": short_number}
    return made


def render(template: str, folders: Sequence[Path] = (), **values: Any) -> Markup:
    """Return the HTML of a template.

    Args:
        template: its file name.
        folders: where to look for it before assets/templates.
        values: by the names that the template has for them.
    """
    return Markup(environment(*folders).get_template(template).render(**values))


def macro(name: str, *arguments: Any, **named: Any) -> Markup:
    """Return what a macro of cells.html makes of its arguments."""
    return getattr(environment().get_template("cells.html").module, name)(*arguments, **named)


# --- filters ----------------------------------------------------------------------------------


def code_words(text: str) -> Markup:
    """Return a sentence, escaped, with the words in backticks as code."""
    # A plain string: parts that `re` puts into a Markup would be escaped once more.
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def minus(text: str) -> str:
    """Return a number with a true minus sign."""
    return text.replace("-", "\u2212")


def short_number(cell: str) -> str:
    """Return a number of sixteen digits with six; other text unchanged, up to 80 characters."""
    try:
        value = float(cell)
    except ValueError:
        return cell[:80]
    return cell if value.is_integer() or len(cell) <= 8 else f"{value:.6g}"
