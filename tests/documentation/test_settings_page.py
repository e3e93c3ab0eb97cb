"""The table of settings is read from the class and its comments."""

from __future__ import annotations

import importlib
import sys

import pytest

from documentation.settings_page import format_settings, read_settings
from experiments.settings import Config
from runtime.errors import UserError

SOURCE = '''
class Small:
    """Settings."""

    # --- one ---
    # how large,
    # in m
    size: float = 2.0

    # About nothing.

    name: str | None = None  # of it

    # --- two ---
    params: dict = {"a": 1}  # its arguments
'''


@pytest.fixture
def define(tmp_path, monkeypatch):
    """A function that returns the class of a source, as a file of a module of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "small_settings", raising=False)

    def load(source: str) -> type:
        (tmp_path / "small_settings.py").write_text(source)
        return importlib.import_module("small_settings").Small

    return load


def test_comments_above_and_behind_are_the_meaning(define) -> None:
    lines = format_settings(define(SOURCE))
    assert lines[2:-1] == [
        "| **one** |  |  |  |",
        "| `size` | `float` | `2.0` | how large, in m |",
        r"| `name` | `str \| None` | `None` | of it |",
        "| **two** |  |  |  |",
        "| `params` | `dict` | `{'a': 1}` | its arguments |",
    ]


def test_a_setting_without_a_comment_is_refused(define) -> None:
    with pytest.raises(UserError, match="name has no comment"):
        list(read_settings(define(SOURCE.replace("  # of it", ""))))


def test_every_setting_of_an_experiment_is_there() -> None:
    assert [setting.name for setting in read_settings(Config)] == list(Config.__annotations__)
