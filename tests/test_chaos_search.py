"""A search of several stretches, killed at random moments and resumed, has the same results."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos_search import kill_and_resume

pytest.importorskip("h5py")


def test_a_killed_search_is_resumed_bit_by_bit(tmp_path: Path) -> None:
    """Three kills here; `python tests/chaos_search.py --kills 20 --hours 12` takes longer."""
    done, different = kill_and_resume(tmp_path, 200, kills=3, seed=1)
    assert done == 3
    assert different == []
