"""Segments and times out of configs and text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from simulation.noise_times import segments_of_setting, times_of_setting


def test_segments_in_every_form(tmp_path: Path) -> None:
    two, four = tmp_path / "two.txt", tmp_path / "four.txt"
    two.write_text("# start end\n1.5 2\n\n3,4 # a note\n")
    four.write_text("0 10 20 10\n1 30 35 5\n")
    assert segments_of_setting(str(two), "H1", "flags") == [(1.5, 2.0), (3.0, 4.0)]
    assert segments_of_setting(str(four), "H1", "flags") == [(10.0, 20.0), (30.0, 35.0)]
    assert segments_of_setting([(1, 2)], "H1", "flags") == [(1.0, 2.0)]
    each = {"H1": [(1, 2)], "L1": str(two)}
    assert segments_of_setting(each, "L1", "flags") == [(1.5, 2.0), (3.0, 4.0)]
    assert segments_of_setting(each, "V1", "flags") == segments_of_setting((), "H1", "flags") == []


def test_times(tmp_path: Path) -> None:
    path = tmp_path / "events.txt"
    path.write_text("1.25\n7\n")
    assert times_of_setting(str(path), "events") == [1.25, 7.0]
    assert times_of_setting((3, 4.5), "events") == [3.0, 4.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\n", "flags: .*line 1"), ("1 2\n3\n", "flags: .*line 2"), ("a b\n", "'a' and 'b'")],
)
def test_damaged_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "flags.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        segments_of_setting(str(path), "H1", "flags")


@pytest.mark.parametrize("value", [[3, 4], [(1, 2, 3)], 7, [("a", "b")]])
def test_what_is_no_segment(value) -> None:
    with pytest.raises(UserError, match="expected pairs of GPS times"):
        segments_of_setting(value, "H1", "flags")
    with pytest.raises(UserError, match="ends too early"):
        segments_of_setting([(2, 1)], "H1", "flags")
    with pytest.raises(UserError, match="expected GPS times"):
        times_of_setting(["x"], "events")
