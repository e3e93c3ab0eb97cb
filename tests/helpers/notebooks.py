"""Notebooks as they are committed, and run from top to bottom."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT


def check_committed_without_outputs(path: Path) -> None:
    """Check that a notebook holds no outputs, and names the usual kernel."""
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
        assert cell["metadata"] == {}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def code_of(path: Path) -> str:
    """Return the code of all cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return "".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "code")


def run_notebook(path: Path, without: Collection[str] = ()) -> Any:
    """Run a notebook from top to bottom in a fresh kernel, and return it.

    Args:
        without: cells whose source has one of these words are emptied before.
    """
    reason = "needs what `make install` brings, or pip install nbclient nbformat ipykernel"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    left_out = [cell for cell in notebook.cells if any(word in cell.source for word in without)]
    assert len(left_out) == len(without)
    for cell in left_out:
        cell.source = ""
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    return notebook
