"""Which names a run may have, and which folders are runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.run_names import check_run_name, is_run_directory
from runtime.errors import UserError

RESERVED = ("dry_run", "demo.20260102-030405", "demo.20260102-030405-2", "stack.csv", "index.html")


@pytest.mark.parametrize("name", ["", ".demo", "../demo", "a/b", "a\0b", *RESERVED])
def test_a_name_under_which_a_run_would_be_left_out_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="name = "):
        check_run_name(name)


@pytest.mark.parametrize("name", ["demo", "pseudo_14", "dry_run_2", "demo.v2", "demo.20260102"])
def test_other_names_are_taken_and_their_folders_are_runs(tmp_path: Path, name: str) -> None:
    check_run_name(name)
    (tmp_path / name).mkdir()
    assert not is_run_directory(tmp_path / name)
    (tmp_path / name / "fold0_last.pt").touch()
    assert is_run_directory(tmp_path / name)


@pytest.mark.parametrize("name", [".hidden", *RESERVED])
def test_folders_beside_the_runs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text("{}")
    assert not is_run_directory(tmp_path / name)
