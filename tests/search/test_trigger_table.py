"""The table of triggers: HDF5 and CSV, in pieces and whole, damaged and not."""

from __future__ import annotations

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
    read_trigger_group,
    trigger_cell_names,
    trigger_cells,
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
        chi_squared=np.array([[1.1, np.nan]] * 5),
        slide=np.arange(5, dtype=np.int32),
        stretch=np.zeros(5, np.int32),
        detector_times=times,
        combination=np.array(["H1L1"] * 5),
    )


def check_equal(one: TriggerTable, other: TriggerTable) -> None:
    assert one.detectors == other.detectors
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def write_pieces(path: Path, *pieces: TriggerTable) -> Path:
    with h5py.File(path, "w") as file:
        writer = TriggerWriter(file.create_group("triggers"), pieces[0].detectors)
        for piece in pieces:
            writer.append(piece)
    return path


def read_pieces(path: Path) -> TriggerTable:
    with h5py.File(path, "r") as file:
        return read_trigger_group(file["triggers"], str(path))


def test_what_is_written_is_read_again(table: TriggerTable, tmp_path: Path) -> None:
    check_equal(read_pieces(write_pieces(tmp_path / "triggers.hdf5", table)), table)
    empty = TriggerTable.empty(("H1", "L1"))
    check_equal(read_pieces(write_pieces(tmp_path / "none.hdf5", empty)), empty)


def test_pieces_make_the_whole(table: TriggerTable, tmp_path: Path) -> None:
    pieces = [table.take(np.arange(2)), table.take(np.arange(0)), table.take(np.arange(2, 5))]
    check_equal(concatenate_tables(pieces), table)
    check_equal(read_pieces(write_pieces(tmp_path / "pieces.hdf5", *pieces)), table)


def test_cells_of_what_is_not_known_are_empty(table: TriggerTable) -> None:
    rows = [trigger_cells(table, row) for row in range(len(table))]
    assert all(list(row) == trigger_cell_names(table.detectors) for row in rows)
    assert float(rows[0]["gps"]) == pytest.approx(table.time[0], abs=1e-4)
    assert float(rows[2]["score_L1"]) == pytest.approx(table.detector_scores[2, 1], abs=1e-4)
    assert [row["template"] for row in rows] == ["3", "", "0", "7", "2"]
    assert (rows[0]["mass1"], rows[1]["mass1"]) == ("30.000", "")
    assert {row["snr_H1"] for row in rows} == {""}
    assert {(row["chi_squared_H1"], row["chi_squared_L1"]) for row in rows} == {("1.10", "")}


def test_files_of_earlier_versions_have_no_chi_squared(table: TriggerTable, tmp_path: Path) -> None:
    path = write_pieces(tmp_path / "triggers.hdf5", table)
    with h5py.File(path, "r+") as file:
        del file["triggers/chi_squared"]
    unknown = dataclasses.replace(table, chi_squared=np.full((5, 2), np.nan))
    check_equal(read_pieces(path), unknown)


def test_damaged_files_are_one_sentence(table: TriggerTable, tmp_path: Path) -> None:
    path = write_pieces(tmp_path / "triggers.hdf5", table)
    with h5py.File(path, "r+") as file:
        del file["triggers/score"]
    with pytest.raises(UserError, match="the column score of its triggers is missing"):
        read_pieces(path)
    short = dataclasses.replace(table, score=table.score[:3])
    with pytest.raises(UserError, match=r"column score .* the shape \(3,\), expected \(5,\)"):
        TriggerTable.from_arrays(short.detectors, short.arrays(), "x.hdf5")
    path = write_pieces(tmp_path / "numbers.hdf5", table)
    with h5py.File(path, "r+") as file:
        del file["triggers/template"]
        file["triggers/template"] = np.ones(5)
    with pytest.raises(UserError, match="the column template of its triggers holds float64"):
        read_pieces(path)
