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
    SIDES,
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
    assert one.side_names == other.side_names
    for name in (*COLUMNS, SIDES):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def write_pieces(path: Path, *pieces: TriggerTable) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("triggers")
        writer = TriggerWriter(group, pieces[0].detectors, pieces[0].side_names)
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


def test_side_targets_are_further_columns(table: TriggerTable, tmp_path: Path) -> None:
    values = np.array([[1e9 + row, 0.01 * row, 28.25] for row in range(5)])
    values[4, 2] = np.nan
    sides = table.with_sides(("merger_time", "a/b", "chirp_mass"), values)
    path = write_pieces(tmp_path / "triggers.hdf5", *(sides.take([row]) for row in range(5)))
    check_equal(read_pieces(path), sides)
    cells = trigger_cells(sides, 1)
    assert list(cells) == trigger_cell_names(sides.detectors, sides.side_names)
    assert cells["predicted_merger_time"] == "1000000001.0000"
    assert (cells["predicted_a/b"], cells["predicted_chirp_mass"]) == ("0.01", "28.2500")
    assert trigger_cells(sides, 4)["predicted_chirp_mass"] == ""
    # what an earlier version wrote of the same networks has none
    both = concatenate_tables([table, sides])
    assert np.isnan(both.sides[:5]).all()
    np.testing.assert_array_equal(both.sides[5:], values)
    none = TriggerTable.from_arrays(table.detectors, table.arrays(), "x", sides.side_names)
    assert np.isnan(none.sides).all()
    damaged = sides.arrays() | {SIDES: values[:, :2]}
    with pytest.raises(UserError, match="column sides of its triggers has the shape"):
        TriggerTable.from_arrays(table.detectors, damaged, "x", sides.side_names)


def test_files_without_side_targets_say_nothing_of_them(table, tmp_path: Path) -> None:
    with h5py.File(write_pieces(tmp_path / "triggers.hdf5", table), "r") as file:
        assert set(file["triggers"]) == set(COLUMNS)
        assert set(file["triggers"].attrs) == {"detectors"}
    assert set(table.arrays()) == set(COLUMNS)
    assert not [name for name in trigger_cells(table, 0) if "predicted" in name]


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
