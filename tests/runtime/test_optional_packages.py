"""Optional packages: a missing one is named with its extra."""

from __future__ import annotations

import pytest

from runtime.errors import UserError
from runtime.optional_packages import require


def test_require_names_the_extra() -> None:
    with pytest.raises(UserError, match=r"pip install -e '\.\[sim\]'"):
        require("no_such_package.part", "sim")
    assert require("json", "sim").loads("1") == 1
