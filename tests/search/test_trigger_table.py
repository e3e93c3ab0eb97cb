"""The table of triggers: HDF5 and CSV, in pieces and whole, damaged and not."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from runtime.errors import UserError
from search.trigger_table import (
    COLUMNS,
    TriggerTable,
    TriggerWriter,
    concatenate_tables,
    read_trigger_file,
    write_trigger_csv,
    write_trigger_file,
)


@pytest.fixture
def table(rng: np.random.Generator) -> TriggerTable:
    """Five triggers of H1 and L1, of a scorer that knows no SNR."""
    times = rng.uniform(1e9, 1e9 + 100, (5, 2))
    return TriggerTable(
        detectors=("H1", "L1"),
        time=times[:, 0],
        score=rng.standard_normal(5),
        detector_scores=rng.standard_normal((5, 2)),
        template=np.array([3, -1, 0, 7, 2], np.int32),
        mass1=np.array([30.0, np.nan, 40, 50, 60]),
        mass2=np.array([20.0, np.nan, 30, 40, 50]),
        snr=np.full((5, 2), np.nan),
        slide=np.arange(5, dtype=np.int32),
        stretch=np.zeros(5, np.int32),
        detector_times=times,
        combination=np.array(["H1L1"] * 5),
    )


def check_equal(one: TriggerTable, other: TriggerTable) -> None:
    assert one.detectors == other.detectors
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_what_is_written_is_read_again(table: TriggerTable, tmp_path: Path) -> None:
    write_trigger_file(tmp_path / "triggers.hdf5", table)
    check_equal(read_trigger_file(tmp_path / "triggers.hdf5"), table)
    empty = TriggerTable.empty(("H1", "L1"))
    write_trigger_file(tmp_path / "none.hdf5", empty)
    check_equal(read_trigger_file(tmp_path / "none.hdf5"), empty)


def test_pieces_make_the_whole(table: TriggerTable, tmp_path: Path) -> None:
    pieces = [table.take(np.arange(2)), table.take(np.arange(0)), table.take(np.arange(2, 5))]
    check_equal(concatenate_tables(pieces), table)
    with h5py.File(tmp_path / "pieces.hdf5", "w") as file:
        writer = TriggerWriter(file.create_group("triggers"), table.detectors)
        for piece in pieces:
            writer.append(piece)
    check_equal(read_trigger_file(tmp_path / "pieces.hdf5"), table)


def test_cells_of_what_is_not_known_are_empty(table: TriggerTable, tmp_path: Path) -> None:
    write_trigger_csv(tmp_path / "triggers.csv", table)
    with open(tmp_path / "triggers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert float(rows[0]["gps"]) == pytest.approx(table.time[0], abs=1e-4)
    assert float(rows[2]["score_L1"]) == pytest.approx(table.detector_scores[2, 1], abs=1e-4)
    assert [row["template"] for row in rows] == ["3", "", "0", "7", "2"]
    assert (rows[0]["mass1"], rows[1]["mass1"]) == ("30.000", "")
    assert {row["snr_H1"] for row in rows} == {""}
    assert [row["slide"] for row in rows] == ["0", "1", "2", "3", "4"]


def test_damaged_files_are_one_sentence(table: TriggerTable, tmp_path: Path) -> None:
    path = tmp_path / "triggers.hdf5"
    write_trigger_file(path, table)
    with h5py.File(path, "r+") as file:
        del file["triggers/score"]
    with pytest.raises(UserError, match="the column score of its triggers is missing"):
        read_trigger_file(path)
    short = dataclasses.replace(table, score=table.score[:3])
    with pytest.raises(UserError, match=r"column score .* the shape \(3,\), expected \(5,\)"):
        TriggerTable.from_arrays(short.detectors, short.arrays(), "x.hdf5")
    path.write_text("no HDF5")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        read_trigger_file(path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(UserError, match="holds no triggers"):
        read_trigger_file(path)
