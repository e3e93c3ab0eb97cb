"""The files of simulated continuous strain: HDF5 of each segment and detector, records, tables.

    background/H-H1_BACKGROUND-1126259462-4096.hdf     noise, a file for each segment and detector
    foreground/H-H1_FOREGROUND-1126259462-4096.hdf     the same noise with the injections in it
    segments/1126259462.json                           what a finished segment holds, with digests
    injections.csv, segments.csv                       the tables of all segments
    strain.json                                        the settings; written last

A strain file holds its samples once, float32, as `strain/Strain`, which is GWOSC's layout. Two
virtual data sets show the same samples to other programs: `data` to PyCBC, and one that is named
like the detector to gwpy.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from physics.constants import STRAIN_UNIT
from physics.population import Population
from runtime.errors import UserError
from runtime.files import TEMPORARY, read_json_object
from runtime.optional_packages import require
from simulation.dataset_files import LOCK

if TYPE_CHECKING:
    import h5py

STARTED, FINISHED = "strain.started.json", "strain.json"
INJECTIONS, SEGMENTS = "injections.csv", "segments.csv"
RECORDS = "segments"
BACKGROUND, FOREGROUND = "background", "foreground"

# Columns of the table of injections: bilby's names, so that a row is a set of its parameters.
BINARY = (
    "mass_1",
    "mass_2",
    "a_1",
    "a_2",
    "tilt_1",
    "tilt_2",
    "phi_12",
    "phi_jl",
    "theta_jn",
    "luminosity_distance",
    "ra",
    "dec",
    "psi",
    "phase",
)
WAVEFORM = ("waveform_approximant", "reference_frequency", "minimum_frequency", "mode_array")


@dataclass(frozen=True)
class Segment:
    """A stretch of strain without gaps.

    Attributes:
        number: counted from 0.
        start: GPS, s.
        duration: s.
    """

    number: int
    start: int
    duration: int

    @property
    def end(self) -> int:
        """GPS time of its end, s."""
        return self.start + self.duration

    def strain_file(self, kind: str, detector: str) -> str:
        """Return the path of a strain file below the folder, named as LIGO-T050017 has it."""
        name = f"{detector[0]}-{detector}_{kind.upper()}-{self.start}-{self.duration}.hdf"
        return f"{kind}/{name}"

    @property
    def record_file(self) -> str:
        """The path of its record below the folder."""
        return f"{RECORDS}/{self.start}.json"


# --- strain -------------------------------------------------------------------------------------


class StrainFile:
    """A strain file that is written from its beginning to its end.

    HDF5 lays the file out; the samples are then written with the system's own calls, whose errors,
    such as a full disk, have names.

    Args:
        path: of the new file.
        detector: e.g. "H1".
        kind: "background" or "foreground".
        segment: when.
        sample_rate: Hz.
    """

    def __init__(
        self, path: Path, detector: str, kind: str, segment: Segment, sample_rate: int
    ) -> None:
        self.path, self.digest = path, hashlib.blake2b(digest_size=16)
        offset = lay_out(path, detector, kind, segment, sample_rate)
        self.file = open(path, "r+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self.file.seek(offset)

    def __enter__(self) -> StrainFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, values: np.ndarray) -> None:
        """Append samples (samples,), in units of 1e-21 strain.

        Raises:
            UserError: the disk is full.
        """
        content = memoryview((values * STRAIN_UNIT).astype("<f4")).cast("B")
        self.digest.update(content)
        try:
            while content:
                content = content[self.file.write(content) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self.path.parent} is on a full disk ({error.strerror}): free some space and run "
                f"the same command again, which keeps the segments that are finished"
            ) from error


def lay_out(path: Path, detector: str, kind: str, segment: Segment, sample_rate: int) -> int:
    """Create a strain file without its samples, and return where in the file they belong."""
    h5py = require("h5py", "gwosc")
    samples = segment.duration * sample_rate
    space = h5py.h5s.create_simple((samples,))
    with h5py.File(path, "w") as file:
        created = plain_storage(h5py)
        created.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # so that there is an offset
        created.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        group = file.create_group("strain")
        h5py.h5d.create(group.id, b"Strain", h5py.h5t.IEEE_F32LE, space, created)
        strain = group["Strain"]
        strain.attrs["Npoints"] = samples
        strain.attrs["Xlabel"], strain.attrs["Xunits"] = "GPS time", "second"
        strain.attrs["Xstart"], strain.attrs["Xspacing"] = segment.start, 1 / sample_rate
        strain.attrs["Ylabel"], strain.attrs["Yunits"] = "Strain", ""
        file["meta/Detector"], file["meta/Description"] = detector, f"simulated {kind}"
        file["meta/GPSstart"], file["meta/Duration"] = segment.start, segment.duration
        # gwpy hands every attribute to its class and takes no other than its own, so that each
        # program has a view with attributes of its own.
        of_pycbc = {"delta_t": 1 / sample_rate, "start_time": float(segment.start)}
        of_gwpy = {
            "x0": float(segment.start),
            "dx": 1 / sample_rate,
            "xunit": "s",
            "unit": "strain",
            "name": f"{detector} {kind}",
            "channel": f"{detector}:STRAIN",
        }
        for name, attributes in (("data", of_pycbc), (detector, of_gwpy)):
            created = plain_storage(h5py)
            # '.': the file itself, whatever it is called
            created.set_virtual(space, b".", b"strain/Strain", space)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, created)
            for key, value in attributes.items():
                file[name].attrs[key] = value
        return strain.id.get_offset()


def plain_storage(h5py: ModuleType) -> h5py.h5p.PropDCID:
    """Return how a data set is stored: without the time at which it was made.

    Files of the same content are then the same bit by bit.
    """
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_obj_track_times(False)
    return created


# --- records ------------------------------------------------------------------------------------


def read_record(out: Path, segment: Segment) -> dict[str, Any] | None:
    """Return the record of a segment, None unless all its files are there in their full size.

    Raises:
        UserError: the record is damaged.
    """
    path = out / segment.record_file
    if not path.exists():
        return None
    advice = "remove it, and the segment is simulated again"
    record = read_json_object(
        path, {"files": dict, "injections": list}, advice, required=("files", "injections")
    )
    for name, facts in record["files"].items():
        try:
            size = os.stat(out / name).st_size
        except FileNotFoundError:
            return None
        if not isinstance(facts, dict) or size != facts.get("bytes"):
            return None
    return record


def find_strain(out: Path) -> tuple[str, dict[str, Any]]:
    """Return how far the strain of a folder got, and the settings it was begun with.

    Returns:
        "absent", "started" or "finished", and the settings.

    Raises:
        UserError: the folder is a file, holds something else, or its mark is damaged.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder for the strain with --out")
    for state, name in (("finished", FINISHED), ("started", STARTED)):
        if (out / name).exists():
            advice = "choose another folder with --out, or move this one away"
            mark = read_json_object(out / name, {"settings": dict}, advice, required=("settings",))
            return state, mark["settings"]
    # The mark itself may be on its way: written, but not yet renamed, by another process.
    known = re.compile(rf"{re.escape(LOCK)}|\.{re.escape(Path(STARTED).stem)}{TEMPORARY}")
    if out.is_dir() and not all(known.fullmatch(path.name) for path in out.iterdir()):
        raise UserError(
            f"{out} is not empty and holds no simulated strain ({FINISHED} is missing): choose "
            f"another folder with --out, or empty this one"
        )
    return "absent", {}


# --- tables -------------------------------------------------------------------------------------


def injection_columns(detectors: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the table of injections."""
    snrs = (*(f"snr_{name}" for name in detectors), "network_snr")
    return ("geocent_time", *BINARY, *snrs, "signal_start", *WAVEFORM)


def waveform_arguments(population: Population) -> dict[str, Any]:
    """Return bilby's `waveform_arguments` of a population, as they stand in each row.

    `mode_array` is JSON, [[2, 2], [2, -2], ...], or empty for all modes of the model.
    """
    modes = [[mode // 10, sign * (mode % 10)] for mode in population.modes for sign in (1, -1)]
    return {
        "waveform_approximant": population.approximant,
        "reference_frequency": population.reference_frequency,
        "minimum_frequency": population.min_frequency,
        "mode_array": json.dumps(modes) if modes else "",
    }


def format_injection(row: dict[str, Any], detectors: Sequence[str]) -> tuple[str, ...]:
    """Return a row of the table of injections; numbers are written so that none loses a digit."""
    return tuple(
        row[name] if isinstance(row[name], str) else repr(float(row[name]))
        for name in injection_columns(detectors)
    )
