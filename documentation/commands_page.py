"""The tables of flags of every command, read from the parsers of the commands."""

from __future__ import annotations

import argparse
import functools
import importlib
import re
from collections.abc import Callable

from benchmarks.harness.command import add_arguments
from benchmarks.harness.measurements import markdown_table
from documentation import REFERENCE, ROOT
from documentation.docstrings import escape_cell
from runtime.errors import UserError

PAGE = REFERENCE / "commands.md"
PAGE_OF_BENCHMARKS = REFERENCE / "benchmarks.md"
# Those with flags. train_pseudo.py takes the flags of train.py.
COMMANDS = ("prep_data", "train", "stacking", "report", "predict", "export", "detect")
PACKAGES = ("demo", "tuning", "look", "doctor")  # commands by `python -m`


# Commands of benchmarks/ with flags of their own, by what follows `python -m`.
BENCHMARKS = (
    "benchmarks.detection",
    "benchmarks.mdc",
    "benchmarks.detection.glitches",
    "benchmarks.detection.glitch_ranking",
    "benchmarks.detection.ship_weights",
)
SHARED = "every single benchmark"  # the flags that all others take


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command of the top level, or of a benchmark."""
    if command == SHARED:
        parser = argparse.ArgumentParser(prog=command)
        add_arguments(parser)
        return parser
    if command in BENCHMARKS:
        is_package = ROOT.joinpath(*command.split(".")).is_dir()
        module = importlib.import_module(f"{command}.__main__" if is_package else command)
        return module.make_parser()
    if command in PACKAGES:
        return importlib.import_module(f"{command}.__main__").build_parser()
    build: Callable[[], argparse.ArgumentParser] = importlib.import_module(command).build_parser
    return build()


def format_flag(action: argparse.Action) -> str:
    """Return a flag with what follows it, as `--help` shows it."""
    # Only the first spelling: others are older ones that still work.
    flag = action.option_strings[0]
    if action.nargs == 0:
        return f"`{flag}`"
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    return f"`{flag} {value}{' ...' if action.nargs in ('+', '*') else ''}`".replace("|", r"\|")


def format_meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of a flag with its default filled in.

    Raises:
        UserError: it has none.
    """
    if not action.help or action.help is argparse.SUPPRESS:
        raise UserError(f"{parser.prog}: {action.option_strings[0]} has no help: write one")
    formatter = argparse.HelpFormatter(parser.prog)
    text = formatter._expand_help(action)  # the one place that knows %(default)s
    return escape_cell(text) + (" **Required.**" if action.required else "")


def format_flags(command: str) -> list[str]:
    """Return the tables of a command's flags, one for each group of them."""
    parser = parser_of(command)
    lines = []
    for group in parser._action_groups:
        actions = [
            action
            for action in group._group_actions
            if action.option_strings and not isinstance(action, argparse._HelpAction)
        ]
        if not actions:
            continue
        # argparse names the flags outside of all groups "options".
        if group.title not in ("options", "optional arguments"):
            lines += [f"{group.title[0].upper()}{group.title[1:]}:", ""]
        rows = [[format_flag(action), format_meaning(parser, action)] for action in actions]
        lines += [*markdown_table(("flag", "meaning"), rows), ""]
    return lines


def format_make_targets() -> list[str]:
    """Return the table of the Makefile's targets that say what they do."""
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z][\w-]*):.*?## (.+)$", text, re.MULTILINE)
    rows = [[f"`make {name}`", escape_cell(meaning)] for name, meaning in targets]
    return [*markdown_table(("target", "does"), rows), ""]


SECTIONS: dict[str, Callable[[], list[str]]] = {
    **{f"flags of {command}.py": functools.partial(format_flags, command) for command in COMMANDS},
    **{f"flags of -m {command}": functools.partial(format_flags, command) for command in PACKAGES},
    "targets of make": format_make_targets,
}
SECTIONS_OF_BENCHMARKS: dict[str, Callable[[], list[str]]] = {
    f"flags of {command}": functools.partial(format_flags, command)
    for command in (SHARED, *BENCHMARKS)
}
