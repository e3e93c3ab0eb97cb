"""Hooks of MkDocs: pages that are written for GitHub come out the same in the site.

* A link to a file of the repository outside of docs/ leads to the repository, if pyproject.toml
  names one ([project.urls] Repository); otherwise only its text stays.
* `<details>` holds Markdown, and bars within code do not end a cell, as on GitHub.

mkdocs.yml names this file. It imports nothing of the project, because MkDocs loads it by its path.
"""

from __future__ import annotations

import functools
import os
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)


@functools.cache
def repository() -> str | None:
    """Return the address of the repository that pyproject.toml names, or None."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    url = project.get("urls", {}).get("Repository")
    return url.rstrip("/") if url else None


def replace_outer_links(text: str, page: str, url: str | None) -> str:
    """Return a page whose links to files outside of docs/ lead to the repository.

    Args:
        text: Markdown.
        page: its path below docs/.
        url: address of the repository; None leaves the text of such links alone.
    """

    def replace(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        if re.match(r"[a-z]+:|#", target) or picture:
            return match[0]
        path = os.path.normpath(os.path.join("docs", os.path.dirname(page), target))
        if path.split(os.sep)[0] == "docs":
            return match[0]
        if url is None:
            return label
        return f"[{label}]({url}/blob/main/{path})"

    return outside_of_blocks(text, lambda prose: LINK.sub(replace, prose))


def outside_of_blocks(text: str, change: Any) -> str:
    """Return the text with what stands outside of fenced blocks changed by a function."""
    parts, end = [], 0
    for block in FENCE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def rewrite_prose(text: str) -> str:
    """Return what stands outside of fenced blocks as Python-Markdown reads it.

    In a cell GitHub wants `a \\| b` and Python-Markdown `a | b` within backticks.
    """
    text = text.replace("<details>", '<details markdown="1">')
    lines = [
        re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line)
        if line.startswith("|")
        else line
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the Markdown of a page as Python-Markdown wants it; MkDocs calls this."""
    text = replace_outer_links(markdown, page.file.src_uri, repository())
    return outside_of_blocks(text, rewrite_prose)
