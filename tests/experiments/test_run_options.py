"""Options of a run: they begin as the command line does, and say whether a run is continued."""

from __future__ import annotations

import dataclasses

import pytest

from experiments.run_options import RunOptions
from train import build_parser

# Options whose flag has another name, because it switches the option off or serves more.
OTHER_FLAGS = {"pretrained": "no_pretrained", "show_progress": "progress_bar", "log_steps": "debug"}


def test_defaults_are_those_of_the_command_line() -> None:
    given = vars(build_parser().parse_args([]))
    for field in dataclasses.fields(RunOptions):
        if field.name == "seed":  # of a single seed, which no flag sets
            assert field.default is None
        elif field.name in OTHER_FLAGS:
            assert not given[OTHER_FLAGS[field.name]], field.name
        else:
            assert given[field.name] == field.default, field.name
    defaults = RunOptions()
    assert defaults.pretrained
    assert not defaults.show_progress
    assert not defaults.log_steps


@pytest.mark.parametrize(
    ("options", "continues"),
    [
        ({}, False),
        ({"resume": True}, True),
        ({"skip_existing": True}, True),
        ({"overwrite": True}, False),
        ({"inference": True}, False),
    ],
)
def test_a_run_is_continued_only_when_asked(options: dict[str, bool], continues: bool) -> None:
    assert RunOptions(**options).continues == continues
