"""utils.py: the face of small things for people's own code."""

from __future__ import annotations

import utils


def test_every_name_is_there_once_and_is_what_the_project_uses() -> None:
    assert len(set(utils.__all__)) == len(utils.__all__)
    for name in utils.__all__:
        value = getattr(utils, name)
        home = getattr(value, "__module__", None)
        if home is not None and home != "logging":
            assert home.split(".")[0] in ("runtime", "configuration"), name
