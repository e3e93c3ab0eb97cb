"""Configs in JSON's types, and as text."""

from __future__ import annotations

import pytest

from configuration.json_types import format_config, to_plain
from runtime.errors import UserError


def test_plain_values() -> None:
    assert to_plain({"a": (1, None), "b": UserError, "c": {"d": 1.5}}) == {
        "a": [1, None],
        "b": "UserError",
        "c": {"d": 1.5},
    }
    with pytest.raises(TypeError):
        to_plain(object())


def test_a_config_as_text() -> None:
    plain = {
        "name": "demo",
        "lr": None,
        "params": {"a": 1, "inner": {"b": [2, 3]}},
        "empty": {},
        "steps": [{"class": "Flip", "p": 0.5}, {"class": "Noise"}],
    }
    assert format_config(plain).splitlines() == [
        "name = demo",
        "lr = None",
        "params:",
        "    a = 1",
        "    inner:",
        "        b = [2, 3]",
        "empty = {}",
        "steps:",
        "    - class=Flip  p=0.5",
        "    - class=Noise",
    ]
