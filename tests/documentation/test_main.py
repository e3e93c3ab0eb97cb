"""The reference says what the code says."""

from __future__ import annotations

import pytest

from documentation import ROOT
from documentation.__main__ import PAGES, generate


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_page_is_not_stale(path) -> None:
    assert path.read_text() == generate(path), "run: python -m documentation"
