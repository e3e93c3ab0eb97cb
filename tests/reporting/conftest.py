"""One complete run, with and without test-time views, for the tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import Samples, write_run, write_tables


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return write_tables(tmp_path / "input")


@pytest.fixture
def results(tmp_path: Path, samples: Samples) -> Path:
    folder = tmp_path / "results"
    write_run(folder, "whole", samples, tmp_path / "input", seed=1, tta=True)
    return folder
