"""tutorial.ipynb: committed without outputs, without logic, and running from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from notebooks import check_committed_without_outputs, code_of, run_notebook
from paths import ROOT
from small_run import make_data

PATH = ROOT / "tutorial.ipynb"
SMALL = "num_epochs=2 batch_size=8 model_params.widths=(4,8) model_params.depths=(1,1)"
SMALL += " model_params.kernel_sizes=(7,5) model_params.strides=(4,4)"


def test_it_is_committed_without_outputs() -> None:
    check_committed_without_outputs(PATH)


def test_it_has_no_logic_of_its_own() -> None:
    """But the class of an experiment, which is what a reader writes."""
    code = code_of(PATH)
    assert not re.search(r"^\s*(def|for|while|if|with|lambda)\b", code, re.MULTILINE)
    assert re.findall(r"^class (.*):$", code, re.MULTILINE) == ["MyTry(configs.Demo)"]


@pytest.mark.usefixtures("whitening")  # whose matrices the kernel finds in the cache
def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few samples that are there; tests/test_prep_data.py simulates some."""
    make_data(tmp_path / "input" / "tutorial", 24, 4)
    monkeypatch.setenv("G2NET_TUTORIAL", str(tmp_path))
    monkeypatch.setenv("G2NET_TUTORIAL_SETTINGS", SMALL)
    notebook = run_notebook(PATH, without=["prep_data.main("])
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    # strain, spectra, two front-ends, augmentations, the batch, the curves, two errors, MyTry
    assert len(pictures) == 10
    assert not [out for out in outputs if out.output_type == "error"]
    run = tmp_path / "results" / "tutorial"
    assert {"fold0.pt", "outoffolds.npy", "history.csv"} <= {path.name for path in run.iterdir()}
    texts = "".join(str(out.get("data", {}).get("text/plain", "")) for out in outputs)
    assert "'signal'" in texts  # the samples
    assert "probability" in texts  # the table of errors
