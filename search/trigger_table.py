"""Triggers as a table: one row for each trigger, of the strain as it is and of its time slides.

A table has the same columns for every scorer; what a scorer does not know is NaN or -1. Networks
that predict side targets (experiments/side_targets.py) add a column for each. It is held as arrays,
so that millions of triggers of a background fit into memory, and is kept in HDF5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.errors import UserError
from search.columns import check_columns

if TYPE_CHECKING:
    import h5py

FLOATS = ("time", "score", "mass1", "mass2")  # columns of shape (n,), float64
INTEGERS = ("template", "slide", "stretch")  # columns of shape (n,), int32
# columns of shape (n, D), float64
BY_DETECTOR = ("detector_scores", "snr", "chi_squared", "detector_times")
COLUMNS = (*FLOATS, *INTEGERS, *BY_DETECTOR, "combination")
SIDES = "sides"  # the array of side targets, where there are any
ADDED = ("chi_squared",)  # that files of earlier versions lack; there it is not known
NAME_BYTES = 32  # of a combination such as H1L1V1 in HDF5
ROWS_AT_ONCE = 2**16  # written to HDF5 in one chunk


@dataclass(frozen=True)
class TriggerTable:
    """Triggers of one search; n is their number and D that of the observed detectors.

    Attributes:
        detectors: names, in the order of the columns by detector.
        time: (n,) GPS time of the merger, s. In a time slide it is the time of the detector that
            is not shifted.
        score: (n,) by which triggers are ranked.
        detector_scores: (n, D) score of each detector alone, NaN where it has no strain.
        template: (n,) number of the best template, -1 where there are no templates.
        mass1, mass2: (n,) masses of the template in the detector frame, solar masses; NaN where
            they are not known.
        snr: (n, D) signal-to-noise ratio of the template in each detector, NaN where not known.
        chi_squared: (n, D) of the template's bands in each detector, for each degree of freedom:
            about 1 for a signal (see consistency.py). NaN where not known, as in time slides.
        slide: (n,) number of the time slide; 0 is the strain as it was recorded.
        stretch: (n,) number of the stretch of strain.
        detector_times: (n, D) GPS time at which each detector's strain was recorded, s; NaN
            without strain. They differ in a time slide alone.
        combination: (n,) names of the detectors with strain, such as 'H1L1'.
        side_names: names of the S side targets that the networks predict.
        sides: (n, S) float64, their values in their own units, a merger time as a GPS time, s; NaN
            where a file of an earlier version has none. None is (n, 0).
    """

    detectors: tuple[str, ...]
    time: np.ndarray
    score: np.ndarray
    detector_scores: np.ndarray
    template: np.ndarray
    mass1: np.ndarray
    mass2: np.ndarray
    snr: np.ndarray
    chi_squared: np.ndarray
    slide: np.ndarray
    stretch: np.ndarray
    detector_times: np.ndarray
    combination: np.ndarray
    side_names: tuple[str, ...] = ()
    sides: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.sides is None:
            object.__setattr__(self, "sides", np.empty((len(self.time), 0)))

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def empty(cls, detectors: Sequence[str], side_names: Sequence[str] = ()) -> TriggerTable:
        """Return a table without rows."""
        columns = {name: np.empty(0) for name in FLOATS}
        columns |= {name: np.empty(0, np.int32) for name in INTEGERS}
        columns |= {name: np.empty((0, len(detectors))) for name in BY_DETECTOR}
        return cls(
            detectors=tuple(detectors),
            combination=np.empty(0, "U1"),
            side_names=tuple(side_names),
            sides=np.empty((0, len(side_names))),
            **columns,
        )

    def take(self, rows: np.ndarray) -> TriggerTable:
        """Return some rows, by a mask or by their numbers."""
        columns = {name: getattr(self, name)[rows] for name in (*COLUMNS, SIDES)}
        return dataclasses.replace(self, **columns)

    def with_sides(self, names: Sequence[str], values: np.ndarray | None = None) -> TriggerTable:
        """Return the table with side targets (n, S) of these names; None: not known, NaN."""
        if values is None:
            values = np.full((len(self), len(names)), np.nan)
        return dataclasses.replace(self, side_names=tuple(names), sides=values)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns by name, as `from_arrays` takes them; sides only where there are."""
        names = (*COLUMNS, SIDES) if self.side_names else COLUMNS
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(
        cls,
        detectors: Sequence[str],
        arrays: dict[str, np.ndarray],
        where: str,
        side_names: Sequence[str] = (),
    ) -> TriggerTable:
        """Return a table of columns that were read from a file.

        Args:
            detectors: of the columns by detector.
            arrays: columns by name; others are left out.
            where: the file, for messages.
            side_names: of side targets; files of earlier versions lack them.

        Raises:
            UserError: a column is missing, or has another shape.
        """
        count = arrays["time"].size if "time" in arrays else 0
        shapes = {
            name: (count, len(detectors)) if name in BY_DETECTOR else (count,) for name in COLUMNS
        }
        shapes[SIDES] = (count, len(side_names))
        unknown = {
            name: np.full(shapes[name], np.nan) for name in (*ADDED, SIDES) if name not in arrays
        }
        arrays = arrays | unknown
        check_columns(arrays, shapes, where, "triggers")
        columns = {name: arrays[name] for name in (*COLUMNS, SIDES)}
        return cls(tuple(detectors), side_names=tuple(side_names), **columns)


def concatenate_tables(tables: Sequence[TriggerTable]) -> TriggerTable:
    """Return the rows of several tables of the same detectors as one; at least one table.

    Tables of earlier versions have no side targets where others of the same networks have them.
    """
    names = next((table.side_names for table in tables if table.side_names), ())
    tables = [table if table.side_names == names else table.with_sides(names) for table in tables]
    columns = (*COLUMNS, SIDES)
    return dataclasses.replace(
        tables[0],
        **{name: np.concatenate([getattr(table, name) for table in tables]) for name in columns},
    )


# --- HDF5 ------------------------------------------------------------------------------------


class TriggerWriter:
    """Appends tables to a group of an HDF5 file, so that a long search needs no more memory.

    Args:
        group: empty; gets a data set for each column.
        detectors: of the tables.
        side_names: of the tables' side targets; their data set is there only if there are any.
    """

    def __init__(
        self, group: h5py.Group, detectors: Sequence[str], side_names: Sequence[str] = ()
    ) -> None:
        self.group, self.columns = group, COLUMNS
        group.attrs["detectors"] = list(detectors)
        if side_names:
            # Names of columns of a user's table may hold what HDF5 keeps for itself, such as '/'.
            group.attrs["side_names"] = list(side_names)
            self.columns = (*COLUMNS, SIDES)
        for name in self.columns:
            kind: Any = "f8"
            if name in INTEGERS:
                kind = "i4"
            elif name == "combination":
                kind = f"S{NAME_BYTES}"
            further = (len(detectors),) if name in BY_DETECTOR else ()
            further = (len(side_names),) if name == SIDES else further
            group.create_dataset(
                name,
                (0, *further),
                kind,
                maxshape=(None, *further),
                chunks=(ROWS_AT_ONCE // 16, *further),
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )

    def append(self, table: TriggerTable) -> None:
        """Append the rows of a table."""
        before = len(self.group["time"])
        for name in self.columns:
            data, values = self.group[name], getattr(table, name)
            data.resize(before + len(table), axis=0)
            data[before:] = values.astype("S") if name == "combination" else values


def read_trigger_group(group: h5py.Group, where: str) -> TriggerTable:
    """Return the triggers that a `TriggerWriter` wrote.

    Args:
        group: of an HDF5 file.
        where: the file, for messages.

    Raises:
        UserError: a column is missing, has another shape or another type.
    """
    detectors = tuple(str(name) for name in group.attrs.get("detectors", ()))
    side_names = tuple(str(name) for name in group.attrs.get("side_names", ()))
    arrays = {}
    for name in (*COLUMNS, SIDES) if side_names else COLUMNS:
        if name not in group:
            continue  # `from_arrays` says so
        values = group[name][()]
        expected = "S" if name == "combination" else "i" if name in INTEGERS else "f"
        if values.dtype.kind != expected:
            raise UserError(
                f"{where} is damaged: the column {name} of its triggers holds {values.dtype}"
            )
        arrays[name] = values.astype("U") if name == "combination" else values
    return TriggerTable.from_arrays(detectors, arrays, where, side_names)


# --- CSV -------------------------------------------------------------------------------------


def format_cell(value: float, digits: int) -> str:
    """Return a number with some digits after the point; an empty cell for NaN."""
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def format_side(value: float) -> str:
    """Return a side target in four decimals, or in five digits if it is small; '' for NaN."""
    return format_cell(value, 4) if not abs(value) < 1 else f"{value:.5g}"


def side_column(name: str) -> str:
    """Return the name of a side target's column in CSV files."""
    return f"predicted_{name}"


def trigger_cells(table: TriggerTable, row: int) -> dict[str, str]:
    """Return the cells of a trigger by the name of the column, as CSV files have them."""
    cells = {"gps": f"{table.time[row]:.4f}", "score": f"{table.score[row]:.4f}"}
    for place, name in enumerate(table.detectors):
        cells[f"score_{name}"] = format_cell(table.detector_scores[row, place], 4)
    for place, name in enumerate(table.detectors):
        cells[f"snr_{name}"] = format_cell(table.snr[row, place], 3)
    for place, name in enumerate(table.detectors):
        cells[f"chi_squared_{name}"] = format_cell(table.chi_squared[row, place], 2)
    template = int(table.template[row])
    cells["template"] = "" if template < 0 else str(template)
    cells["mass1"] = format_cell(table.mass1[row], 3)
    cells["mass2"] = format_cell(table.mass2[row], 3)
    for place, name in enumerate(table.side_names):
        cells[side_column(name)] = format_side(table.sides[row, place])
    cells["combination"] = str(table.combination[row])
    return cells


def trigger_cell_names(detectors: Sequence[str], side_names: Sequence[str] = ()) -> list[str]:
    """Return the names of the columns of `trigger_cells`."""
    return [
        *("gps", "score"),
        *(f"score_{name}" for name in detectors),
        *(f"snr_{name}" for name in detectors),
        *(f"chi_squared_{name}" for name in detectors),
        *("template", "mass1", "mass2"),
        *(side_column(name) for name in side_names),
        "combination",
    ]
