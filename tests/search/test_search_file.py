"""The file of all triggers of a search: written stretch by stretch, read whole, damaged or not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from trigger_tables import DETECTORS, make_table

from runtime.errors import UserError
from search.live_times import LiveTimes
from search.search_file import read_search_file, write_search_file
from search.slides import list_time_slides
from search.trigger_table import TriggerTable, concatenate_tables

IDENTITY = {"networks": ["a"], "strain": {"H1": ["x"]}}


def write(path: Path) -> None:
    shifts = list_time_slides(100.0, ("H1", "L1"), 2, 1.0)
    parts = []
    for number in range(2):
        start = 1e9 + 100 * number
        live = LiveTimes.of_stretch(
            DETECTORS, number, (start, start + 100), ("H1", "L1"), shifts, np.array([90.0, 80, 70])
        )
        found = make_table([start + 50, start + 10], [3.0, 4.0], stretch=number)
        slid = make_table([start + 20], [1.0 + number], slide=1, stretch=number)
        parts.append((concatenate_tables([found, slid]), live))
    nothing = LiveTimes.of_stretch(DETECTORS, 2, (0, 0), (), [], np.empty(0))
    parts.append((TriggerTable.empty(DETECTORS), nothing))
    write_search_file(path, iter(parts), DETECTORS, -2.5, IDENTITY)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "triggers.hdf5")
    file = read_search_file(tmp_path / "triggers.hdf5")
    assert file.identity == IDENTITY
    assert file.least == -2.5
    assert (file.found.time - 1e9).tolist() == [10, 50, 110, 150]
    assert file.slid.score.tolist() == [1.0, 2.0]
    assert np.isnan(file.slid.snr).all()
    assert file.observed_seconds == {"H1L1": 180.0}
    assert len(file.live) == 6


def test_the_same_search_writes_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one.hdf5")
    write(tmp_path / "other.hdf5")
    one, other = ((tmp_path / name).read_bytes() for name in ("one.hdf5", "other.hdf5"))
    assert one == other


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "triggers.hdf5"
    with pytest.raises(UserError, match="cannot be read"):
        read_search_file(path)
    path.write_text("text")
    with pytest.raises(UserError, match="cannot be read"):
        read_search_file(path)
    with h5py.File(path, "w") as file:
        file["strain"] = 1
    with pytest.raises(UserError, match="holds no triggers of a search"):
        read_search_file(path)
    write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["identity"] = "[]"
    with pytest.raises(UserError, match="its identity is no object"):
        read_search_file(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 99
    with pytest.raises(UserError, match="of another version"):
        read_search_file(path)
