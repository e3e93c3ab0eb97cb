"""The process that reads frame files: errors become sentences, a crash ends nothing but itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.gwf_reading_process import call_in_reading_process, raises_user_errors
from runtime.errors import UserError


def crash(path: str) -> None:
    """End the process at once, as a segmentation fault of a frame library does."""
    os._exit(11)


def test_a_crash_is_an_error_and_the_next_file_gets_a_new_process() -> None:
    first = call_in_reading_process(os.path.basename, Path("one.gwf"))
    with pytest.raises(UserError, match=r"bad\.gwf is damaged: the frame library crashed on it"):
        call_in_reading_process(crash, Path("bad.gwf"))
    assert (first, call_in_reading_process(os.path.basename, Path("two.gwf"))) == (
        "one.gwf",
        "two.gwf",
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("bad checksum\nat 0x12"), r"a\.gwf cannot .* \(bad checksum\): download it"),
        (ValueError(), r"a\.gwf cannot be read as a frame file \(ValueError\)"),
        (ImportError("no framel"), r"no reader of frame files \(no framel\): install one with"),
    ],
)
def test_errors_of_the_libraries_become_one_sentence(error: Exception, message: str) -> None:
    @raises_user_errors
    def read(path: str) -> None:
        raise error

    with pytest.raises(UserError, match=message):
        read("a.gwf")


def test_our_own_errors_and_mistakes_pass_unchanged() -> None:
    @raises_user_errors
    def read(path: str, error: Exception) -> None:
        raise error

    with pytest.raises(UserError, match=r"^as it is$"):
        read("a.gwf", UserError("as it is"))
    with pytest.raises(ZeroDivisionError):
        read("a.gwf", ZeroDivisionError())
