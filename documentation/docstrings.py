"""Docstrings of the house as Markdown: what a class does, and what each argument means."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# A section begins at the margin of a docstring, `Args:`, and its lines are indented.
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):(.*)")
ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")
RULE = re.compile(r"=+(?: +=+)+")  # above and below a table
# "as in `ResNet1d`", "arguments of `MixupTrain`": another class explains these arguments.
EXPLAINED_BY = re.compile(r"\b(?:as in|as|of) `(\w+)`")


@dataclass(frozen=True)
class Docstring:
    """A docstring in parts.

    Attributes:
        body: what stands outside of the sections, with the indentation of its code blocks.
        arguments: what each argument means, on one line.
        remarks: text that stands in place of a list of arguments, such as "Args: as in `X`".
    """

    body: str
    arguments: dict[str, str]
    remarks: str


def parse_docstring(text: str) -> Docstring:
    """Return the parts of a docstring whose indentation `inspect.cleandoc` has removed."""
    body: list[str] = []
    arguments: dict[str, str] = {}
    remarks: list[str] = []
    section, names = "", []
    for line in text.splitlines():
        if match := SECTION.fullmatch(line):
            section, names = match[1], []
            if section == "Args" and match[2].strip():
                remarks.append(match[2].strip())
        elif line and not line.startswith(" "):  # at the margin: the section has ended
            section = ""
            body.append(line)
        elif not section:
            body.append(line)
        elif section == "Args" and line.strip():
            # An entry is indented by four spaces, and its further lines by more.
            entry = ENTRY.fullmatch(line.strip()) if line[4:5] != " " else None
            if entry:
                names = entry[1].split(", ")
                arguments |= dict.fromkeys(names, entry[2])
            elif names:
                arguments |= dict.fromkeys(names, f"{arguments[names[0]]} {line.strip()}")
            else:
                remarks.append(line.strip())
    return Docstring("\n".join(body).strip(), arguments, " ".join(remarks))


def own_docstring(cls: type) -> Docstring:
    """Return the docstring of a class, without those of its parents."""
    # A dataclass without a docstring gets its signature as one.
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    return parse_docstring("" if text.startswith(f"{cls.__name__}(") else text)


def explaining_classes(cls: type) -> list[type]:
    """Return a class, its parents, and those that their docstrings refer to, nearest first."""
    found: list[type] = []
    waiting = [parent for parent in cls.__mro__ if parent.__module__ != "builtins"]
    while waiting:
        one = waiting.pop(0)
        if one in found:
            continue
        found.append(one)
        module = vars(sys.modules[one.__module__])
        for name in EXPLAINED_BY.findall(one.__doc__ or ""):
            if isinstance(module.get(name), type):
                waiting.append(module[name])
    return found


def explain_arguments(cls: type) -> dict[str, str]:
    """Return what each argument of a class means, by the docstring nearest to it."""
    meanings: dict[str, str] = {}
    for one in explaining_classes(cls):
        meanings = {**own_docstring(one).arguments, **meanings}
    return meanings


# --- as Markdown ------------------------------------------------------------------------------


def escape_text(text: str) -> str:
    """Return prose in which asterisks and angle brackets mean themselves, except in backticks."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):  # outside of backticks
        # *word* is an emphasis and stays one.
        pieces = re.split(r"((?<!\w)\*\w+\*(?!\w))", parts[place])
        pieces[::2] = [piece.replace("*", r"\*") for piece in pieces[::2]]
        parts[place] = "".join(pieces).replace("<", "&lt;")
    return "`".join(parts)


def escape_cell(text: str) -> str:
    """Return the text of a table's cell: on one line, and no bar ends the cell."""
    return escape_text(" ".join(text.split())).replace("|", r"\|")


def indent_tables(lines: Sequence[str]) -> list[str]:
    """Return lines in which tables between rules are indented, so that they become blocks."""
    found, inside = [], False
    for place, line in enumerate(lines):
        is_rule = bool(RULE.fullmatch(line))
        found.append(f"    {line}" if is_rule or inside else line)
        # The last rule of a table is followed by nothing.
        if is_rule:
            inside = bool(lines[place + 1 : place + 2] and lines[place + 1])
    return found


def format_body(text: str) -> list[str]:
    """Return the lines of a docstring's body as Markdown.

    Lines that are indented after an empty line are formulas or code and become a block; an example
    of an interpreter becomes a block of its own.
    """
    lines: list[str] = []
    block: list[str] = []
    kind = ""  # "" for prose, else the language of the block that is open
    in_list = False

    def close() -> None:
        nonlocal kind
        if kind:
            while block and not block[-1]:
                block.pop()
            lines.extend([f"```{kind}", *block, "```", ""])
            block.clear()
        kind = ""

    for line in indent_tables(text.splitlines()):
        after_gap = not lines or not lines[-1]
        if line.startswith(">>> ") or (kind == "pycon" and line):
            if kind != "pycon":
                close()
            kind = "pycon"
            block.append(line)
        elif kind == "text" and (line.startswith("    ") or not line):
            block.append(line[4:])
        elif (
            line.startswith("    ") and after_gap and (not in_list or RULE.fullmatch(line.strip()))
        ):
            kind, in_list = "text", False
            block.append(line[4:])
        else:
            close()
            if re.match(r"[*-] ", line):
                # A list begins after an empty line, also where a docstring saves it.
                if not in_list and not after_gap:
                    lines.append("")
                in_list, line = True, f"- {line[2:]}"
            elif line and not line.startswith(" "):
                in_list = in_list and not after_gap
            if line or lines[-1:] != [""]:  # no two empty lines
                lines.append(escape_text(line))
    close()
    while lines and not lines[-1]:
        lines.pop()
    return lines
