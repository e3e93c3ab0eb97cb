"""Files of the MLGWSC-1 challenge, in HDF5: events, injections, and the outline of strain.

    events       data sets time, stat and var, one number for each event
    injections   data sets tc, mass1, mass2, distance and others, one number for each injection
    strain       a data set for each segment, `H1/<gps>`, with attributes start_time and delta_t

The challenge's `evaluate.py` reads events, injections and, of the strain, only when it begins and
ends. It can therefore score a search of strain that was never written to the disk: `write_outline`
writes data sets of the right length and place without their samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.hdf5_files import find_dataset
from runtime.errors import UserError
from runtime.files import atomic_path
from runtime.optional_packages import require
from search.sensitivity import TOLERANCE, Events, Injections
from simulation.continuous_strain_files import Segment

EXTRA = "gwosc"  # that brings h5py
# The challenge's name of each parameter, and bilby's name of it.
INJECTION_COLUMNS = {
    "tc": "geocent_time",
    "mass1": "mass_1",
    "mass2": "mass_2",
    "distance": "luminosity_distance",
    "ra": "ra",
    "dec": "dec",
    "polarization": "psi",
    "coa_phase": "phase",
    "inclination": "theta_jn",
}
NEEDED = ("tc", "mass1", "mass2", "distance")


def read_columns(path: Path, names: Sequence[str], what: str) -> dict[str, np.ndarray]:
    """Return data sets of one length from the top of an HDF5 file, (n,) float64 each.

    Args:
        path: the file.
        names: of the data sets.
        what: it should hold, for messages.

    Raises:
        UserError: the file is missing or damaged, or lacks one of them.
    """
    h5py = require("h5py", EXTRA)
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a file with {what}")
    columns = {}
    try:
        with h5py.File(path, "r") as file:
            for name in names:
                data = find_dataset(file, name, path, optional=True)
                if data is None or data.dtype.kind not in "iuf" or data.ndim != 1:
                    raise UserError(
                        f"{path} has no row of numbers {name!r}: name a file with {what}"
                    )
                columns[name] = data[()].astype(np.float64)
    except OSError as error:
        raise UserError(f"{path} cannot be read as HDF5 ({error}): name a file with {what}") from (
            error
        )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{path} is damaged: its columns have the lengths {lengths}")
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise UserError(f"{path} is damaged: {name!r} holds numbers that are not finite")
    return columns


# --- events ---------------------------------------------------------------------------------


def read_events(path: Path) -> tuple[Events, np.ndarray]:
    """Return the events of a file and the tolerance of each one's time, (n,) s.

    Raises:
        UserError: the file holds no events.
    """
    columns = read_columns(path, ("time", "stat", "var"), "events (time, stat, var)")
    return Events(columns["time"], columns["stat"]), columns["var"]


def write_events(path: Path, events: Events, tolerance: float = TOLERANCE) -> None:
    """Write events as the challenge's `evaluate.py` reads them, whole or not at all."""
    h5py = require("h5py", EXTRA)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["time"], file["stat"] = events.time, events.score
        file["var"] = np.full(len(events), tolerance)


# --- injections -----------------------------------------------------------------------------


def injections_of_rows(rows: Sequence[Mapping[str, Any]]) -> Injections:
    """Return injections of rows with bilby's names, as the simulator has them, in order of time."""
    rows = sorted(rows, key=lambda row: row["geocent_time"])

    def column(name: str) -> np.ndarray:
        return np.array([float(row.get(name, np.nan)) for row in rows])

    return Injections(
        time=column("geocent_time"),
        mass1=column("mass_1"),
        mass2=column("mass_2"),
        distance=column("luminosity_distance"),
        snr=column("network_snr"),
    )


def read_injections(path: Path) -> list[dict[str, float]]:
    """Return the injections of a file by bilby's names, in order of time.

    Only what the sensitivity needs is read: time, masses and distance.

    Raises:
        UserError: the file holds no injections.
    """
    columns = read_columns(path, NEEDED, "injections (tc, mass1, mass2, distance)")
    order = np.argsort(columns["tc"], kind="stable")
    return [
        {INJECTION_COLUMNS[name]: float(columns[name][row]) for name in NEEDED} for row in order
    ]


def write_injections(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write injections as the challenge's `evaluate.py` reads them, whole or not at all.

    Parameters that the rows do not have are left out.
    """
    h5py = require("h5py", EXTRA)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for theirs, ours in INJECTION_COLUMNS.items():
            if all(ours in row for row in rows):
                file[theirs] = np.array([row[ours] for row in rows], np.float64)


# --- strain ---------------------------------------------------------------------------------


def write_outline(
    path: Path, segments: Iterable[Segment], detectors: Sequence[str], sample_rate: int
) -> None:
    """Write when strain begins and ends, as the challenge's files have it, without its samples.

    Args:
        path: of the file.
        segments: of the strain.
        detectors: names.
        sample_rate: Hz.
    """
    h5py = require("h5py", EXTRA)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["note"] = "lengths and times alone: the samples were never written"
        for segment in segments:
            for detector in detectors:
                # In chunks of which none is written, a data set takes no space on the disk.
                data = file.create_dataset(
                    f"{detector}/{segment.start}",
                    (segment.duration * sample_rate,),
                    "f4",
                    chunks=(sample_rate,),
                )
                data.attrs["start_time"] = float(segment.start)
                data.attrs["delta_t"] = 1 / sample_rate
