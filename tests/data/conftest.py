"""A cache of 150 samples, which no test changes, and the files it was written from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_samples import make_files

from data.cache_writer import write_cache


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[Path], np.ndarray]:
    return make_files(tmp_path_factory.mktemp("files"), 150)


@pytest.fixture(scope="module")
def cache_path(files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "train_cache.f32"
    assert write_cache(path, files[0], files[1], processes=1) == 150
    return path


@pytest.fixture
def strain(rng: np.random.Generator) -> np.ndarray:
    """Return 8 s of white strain at 4,096 Hz."""
    return rng.normal(0, 1e-21, 8 * 4096)
