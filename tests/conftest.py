"""What the tests share: where the real samples lie, seeds, and one core for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Threads that wait for one another at every small operation cost more than they bring, the more
# so beside other jobs. Before torch is imported, and for the commands that tests start as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from competition import design_matrix
from paths import SHARED

from runtime import machine
from runtime.console import LOGGER

# A command keeps freed memory for its next step, and ends soon. Tests run hundreds of commands in
# one process, which would keep it all: 9 GB at last.
machine.keep_freed_memory = lambda: None


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test draw from the global generator


@pytest.fixture(autouse=True)
def _log_as_found() -> Iterator[None]:
    """Give each test the log as it is before a command has configured it.

    Handlers that a test made write to streams that end with it. And a log that does not propagate
    is heard twice by caplog once a test lets it: by the handler that pytest then adds to it, and by
    that of the root.
    """
    before, level = list(LOGGER.handlers), LOGGER.level
    LOGGER.propagate = True
    yield
    for handler in [handler for handler in LOGGER.handlers if handler not in before]:
        LOGGER.removeHandler(handler)
        handler.close()
    LOGGER.setLevel(level)
    LOGGER.propagate = True


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


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU of the tests marked `gpu`; with G2NET_TEST_DEVICE=cpu they are rehearsed on a CPU."""
    name = os.environ.get("G2NET_TEST_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device: G2NET_TEST_DEVICE=cpu rehearses this on the CPU")
    # torch looks at it once, before the first product; deterministic algorithms need it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device(name)


@pytest.fixture(scope="session", autouse=True)
def physics_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of waveform banks and whitening matrices of this run, not the user's own.

    The processes of pytest-xdist and the commands that tests start share it, so that the matrices
    of the competition are computed once.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers
    folder = folder / "g2net_cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("G2NET_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def whitening(physics_cache: Path) -> dict[str, np.ndarray]:
    """The full-size whitening matrices by detector: some seconds, once."""

    ligo, virgo = (design_matrix(name, physics_cache) for name in ("H1", "V1"))
    return {"H1": ligo, "L1": ligo, "V1": virgo}
