"""Prints the oldest versions that pyproject.toml allows, as constraints for pip.

python tests/oldest_versions.py > constraints.txt
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

TOOLS = {"ruff", "pre-commit"}  # look at the source, and take no part in running it


def oldest(project: dict) -> Iterator[str]:
    """Yield `name==version` of every `name>=version` that a project asks for."""
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in dict.fromkeys(line for lines in lists for line in lines):
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        if match is None:
            sys.exit(f"pyproject.toml: {requirement!r}: expected name>=version")
        if match[1] not in TOOLS:
            yield f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    sys.stdout.writelines(f"{line}\n" for line in oldest(tomllib.loads(text)["project"]))
