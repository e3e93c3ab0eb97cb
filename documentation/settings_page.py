"""The table of all settings of an experiment, read from the class that defines them."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

from benchmarks.harness.measurements import markdown_table
from configuration.config_class import ConfigMeta
from documentation import REFERENCE
from documentation.docstrings import escape_cell
from runtime.errors import UserError

PAGE = REFERENCE / "settings.md"
RULE = re.compile(r"--- (.+?) -+")  # "--- training ---": a part of the table


@dataclass(frozen=True)
class Setting:
    """A setting as its class defines it.

    Attributes:
        part: the heading under which it stands.
        name, type, default: as written in the source.
        meaning: the comment above it or after it.
    """

    part: str
    name: str
    type: str
    default: str
    meaning: str


def comments_by_line(source: str) -> dict[int, str]:
    """Return the comment of each line that has one, counted from 1."""
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    return {t.start[0]: t.string[1:].strip() for t in tokens if t.type == tokenize.COMMENT}


def read_settings(config: ConfigMeta) -> Iterator[Setting]:
    """Yield the settings of the class that annotates them, in order.

    Raises:
        UserError: a setting has no comment.
    """
    source = inspect.getsource(config)
    lines = source.splitlines()
    comments = comments_by_line(source)
    (definition,) = ast.parse(source).body
    part, seen = "", definition.lineno
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign):
            seen = node.end_lineno
            continue
        above: list[str] = []
        for number in range(seen + 1, node.lineno):
            text = comments.get(number, "")
            if match := RULE.fullmatch(text):
                part, above = match[1], []
            elif text:
                above.append(text)
            elif not lines[number - 1].strip():  # an empty line ends a comment on something else
                above = []
        seen = node.end_lineno
        after = comments.get(node.end_lineno, "")
        meaning = " ".join([*above, after]).strip()
        if not meaning:
            raise UserError(
                f"{config.__name__}.{node.target.id} has no comment, which would be its meaning in "
                f"the reference: write one above it or after it"
            )
        value = "" if node.value is None else ast.unparse(node.value)
        yield Setting(part, node.target.id, ast.unparse(node.annotation), value, meaning)


def format_settings(config: ConfigMeta) -> list[str]:
    """Return the lines of the table: name, type, default and meaning, part by part."""
    rows, part = [], ""
    for setting in read_settings(config):
        if setting.part != part:
            part = setting.part
            rows.append([f"**{part}**", "", "", ""])
        cells = (f"`{setting.name}`", f"`{setting.type}`", f"`{setting.default}`")
        rows.append([*(cell.replace("|", r"\|") for cell in cells), escape_cell(setting.meaning)])
    return [*markdown_table(("setting", "type", "default", "meaning"), rows), ""]
