"""Arrays of strangers: read without running code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.npy_files import load_array
from runtime.errors import UserError


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_an_array_from_a_stranger_runs_no_code(tmp_path: Path) -> None:
    target, path = tmp_path / "made", tmp_path / "trap.npy"
    np.save(path, np.array([Trap(target)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not a plain numpy array"):
        load_array(path)
    assert not target.exists()
