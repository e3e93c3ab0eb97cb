"""A small data set of three detectors, for all tests of this wing."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import make_data


@pytest.fixture(scope="session")
def look_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training samples, half of them with a signal, and 4 test samples."""
    return make_data(tmp_path_factory.mktemp("look") / "input", 12, 4)


@pytest.fixture(scope="session")
def tables(look_data: Path) -> list[str]:
    """What `--set` says to read them."""
    paths = [f"{split}_path={look_data / f'{split}.csv'}" for split in ("train", "test")]
    return [*paths, "train_cache=none", "test_cache=none"]
