"""The tables of flags are read from the parsers."""

from __future__ import annotations

import argparse

import pytest
import test_house

from documentation import commands_page
from documentation.commands_page import (
    BENCHMARKS,
    COMMANDS,
    SHARED,
    format_flags,
    format_make_targets,
)
from runtime.errors import UserError


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fast", action="store_true", help="be fast")
    group = parser.add_argument_group("how it is done")
    group.add_argument(
        "--size", "--Size", type=int, default=3, metavar="N", help="of it (%(default)d)"
    )
    group.add_argument("--file", nargs="+", required=True, help="a | b")
    group.add_argument("--mode", choices=("x", "y"), help="of it")
    return parser


def test_flags_are_shown_by_group_with_value_and_default(monkeypatch) -> None:
    monkeypatch.setattr(commands_page, "parser_of", lambda command: make_parser())
    assert format_flags("some") == [
        "| flag | meaning |",
        "| --- | --- |",
        "| `--fast` | be fast |",
        "",
        "How it is done:",
        "",
        "| flag | meaning |",
        "| --- | --- |",
        "| `--size N` | of it (3) |",
        r"| `--file FILE ...` | a \| b **Required.** |",
        "| `--mode {x,y}` | of it |",
        "",
    ]


def test_a_flag_without_help_is_refused(monkeypatch) -> None:
    parser = make_parser()
    parser.add_argument("--secret")
    monkeypatch.setattr(commands_page, "parser_of", lambda command: parser)
    with pytest.raises(UserError, match="--secret has no help"):
        format_flags("some")


def test_every_command_has_its_table() -> None:
    assert {*COMMANDS} == {*test_house.COMMANDS} - {"train_pseudo"}
    assert all(format_flags(command) for command in (*COMMANDS, SHARED, *BENCHMARKS))


def test_targets_of_make_are_listed_with_what_they_do() -> None:
    lines = format_make_targets()
    assert "| `make lint` | ruff: rules and format |" in lines
    assert any(line.startswith("| `make test-oldest` |") for line in lines)
