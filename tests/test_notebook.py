"""The notebook: committed without outputs, and running from top to bottom on what is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from notebooks import check_committed_without_outputs, code_of
from stack_runs import NOTEBOOK as PATH
from stack_runs import execute_notebook, make_stack, read_exactly, write_results

import configs  # noqa: F401 - registers the experiments
from stack.blend import blend_runs
from stack.files import submission_frame


def test_it_is_committed_without_outputs() -> None:
    check_committed_without_outputs(PATH)


def test_it_has_no_logic_of_its_own() -> None:
    """What is worked out is worked out in modules, which have tests."""
    code = code_of(PATH)
    assert not re.search(r"^\s*(def|class|for|while|if|with|lambda)\b", code, re.MULTILINE)
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)) == {
        "configs",
        "os",
        "pathlib",
        "stack",
    }


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, truth = make_stack(n=600, m=200)
    results = write_results(tmp_path, data, truth)
    expected = submission_frame(blend_runs(results))
    notebook = execute_notebook(results, monkeypatch)
    written = read_exactly(results / "submission.csv")
    pd.testing.assert_frame_equal(written, expected, rtol=0, atol=0)
    assert np.isfinite(written["target"]).all()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    text = "".join(out.get("text", "") for out in outputs)
    assert "Of the 20 final experiments 17 are missing: pseudo_12 (Pseudo12)" in text
    assert str(results) in text
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 6
    assert not [out for out in outputs if out.output_type == "stream" and out.name == "stderr"]
