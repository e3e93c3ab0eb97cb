"""One finished run, which no test changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mdc_runs import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mdc") / "run"
    run(path)
    return path
