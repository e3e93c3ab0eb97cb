"""What the tests share: where the real samples lie, seeds, and one core for each test."""

from __future__ import annotations

import os
from pathlib import Path

# Threads that wait for one another at every small operation cost more than they bring, the more
# so beside other jobs. Before torch is imported, and for the commands that tests start as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from paths import SHARED


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test draw from the global generator


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data that lies beside a developer's checkout; skipped where absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: the real competition samples are not in the repository")
    return SHARED


@pytest.fixture(scope="session")
def real_samples(shared: Path) -> Path:
    """24 labelled and 40 unlabelled real competition samples in the Kaggle layout."""
    return shared / "data" / "g2net_sample"
