"""Strain in GWOSC's HDF5 files, which come from strangers.

Only the data set `strain/Strain` is read, and only if it lies in the file itself as plain
floating-point numbers. Refused are links to other files, virtual and external data sets, Python
objects (which are unpickled, and that runs code) and filters that HDF5 would load as plug-ins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.gwf_reading_process import EXTRA
from data.recording import check_rate, explain_wrong_detector, file_digest
from data.time_segments import TimeSegments
from physics.observation import COMPETITION
from runtime.errors import UserError
from runtime.optional_packages import require

if TYPE_CHECKING:
    import h5py


STRAIN = "strain/Strain"
# gzip, shuffle, Fletcher's checksum, szip, n-bit, scale-offset and LZF: all that h5py itself can
# write. HDF5 would load any other as a plug-in.
ALLOWED_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
MAX_CHUNK_BYTES = 2**28  # bytes that one compressed chunk may grow to
MAX_SAMPLES = 2**40  # two years at 16 kHz; more is a damaged header


class HDF5Strain:
    """Strain of a GWOSC HDF5 file. The file is opened for each read and holds nothing open.

    Args:
        path: the file.
        detector: whose strain it should be.
        lowest_rate: Hz, that the networks need.

    Raises:
        UserError: it is damaged, is sampled more slowly than that, is not laid out as GWOSC's
            files are, or belongs to another detector.
    """

    def __init__(
        self, path: Path, detector: str, lowest_rate: int = COMPETITION.sample_rate
    ) -> None:
        self.path, self.name = path, str(path)
        with self.open_file() as file:
            data = find_dataset(file, STRAIN, path)
            check_storage(data, path)
            spacing = check_number(data.attrs.get("Xspacing"), f"{path}: the attribute Xspacing")
            rate = 1 / spacing if spacing > 0 else math.nan
            self.rate = check_rate(rate, self.name, lowest_rate)
            start = data.attrs.get("Xstart")
            if start is None:
                start = read_scalar(file, "meta/GPSstart", path)
            self.start = check_number(start, f"{path}: the start, Xstart or meta/GPSstart,")
            self.size = len(data)
            written = read_scalar(file, "meta/Detector", path)
        text = written.decode("ascii", "replace").strip() if isinstance(written, bytes) else ""
        if text and text.upper() != detector:
            raise UserError(explain_wrong_detector(path, text, detector))

    def content_digest(self) -> str:
        return file_digest(self.path)

    def data_segments(self) -> TimeSegments:
        return [(self.start, self.start + self.size / self.rate)]

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return {}

    def open_file(self) -> h5py.File:
        h5py = require("h5py", EXTRA)
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise UserError(f"{self.path} is damaged ({error}): download it again") from error

    def read(self, first: int, last: int) -> np.ndarray:
        with self.open_file() as file:
            data = find_dataset(file, STRAIN, self.path)
            check_storage(data, self.path)  # it may have been replaced since
            try:
                return np.asarray(data[first:last], np.float64)
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"{self.path} is damaged between samples {first} and {last} "
                    f"({str(error).splitlines()[0]}): download it again"
                ) from error


def find_dataset(
    file: h5py.File, path: str, where: Path, optional: bool = False
) -> h5py.Dataset | None:
    """Return a data set that is reached by hard links alone, so that it lies in this file.

    Args:
        optional: return None where it is missing.

    Raises:
        UserError: it is missing, is not a data set, or is reached by a soft or external link.
    """
    import h5py

    group: Any = file
    for part in path.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None and optional:
            return None
        if link is None:
            raise UserError(
                f"{where} has no data set {path!r}: expected a strain file of GWOSC in HDF5"
            )
        if not isinstance(link, h5py.HardLink):
            raise UserError(
                f"{where}: {path!r} is a link that may lead out of the file and is not followed: "
                f"copy the strain itself into the file"
            )
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        raise UserError(f"{where}: {path!r} is a group, expected a data set")
    return group


def check_storage(data: h5py.Dataset, where: Path) -> None:
    """Check that a data set is one row of plain floating-point numbers that lie in its file.

    Raises:
        UserError: it holds another type, has another shape, or keeps its numbers elsewhere.
    """
    if data.dtype.kind != "f":
        raise UserError(
            f"{where}: {STRAIN!r} holds {data.dtype} and not floating-point numbers, and is not "
            f"read: expected a strain file of GWOSC"
        )
    if data.ndim != 1 or not 0 < data.size < MAX_SAMPLES:
        raise UserError(f"{where}: {STRAIN!r} has the shape {data.shape}, expected one long row")
    if data.is_virtual or data.external:
        raise UserError(
            f"{where}: {STRAIN!r} keeps its numbers in other files and is not read: copy them "
            f"into the file"
        )
    created = data.id.get_create_plist()
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if filters - ALLOWED_FILTERS:
        raise UserError(
            f"{where}: {STRAIN!r} is packed by a plug-in (filter "
            f"{min(filters - ALLOWED_FILTERS)}) and is not read: write it with gzip or "
            f"without compression"
        )
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > MAX_CHUNK_BYTES:
        raise UserError(
            f"{where}: {STRAIN!r} is packed in chunks of {math.prod(data.chunks):,} numbers, too "
            f"large to read in parts: write it in smaller chunks"
        )


def read_scalar(file: h5py.File, path: str, where: Path) -> Any:
    """Return the single number or text at a path, or None where there is none.

    Raises:
        UserError: it is reached by a link, or is damaged.
    """
    data = find_dataset(file, path, where, optional=True)
    if data is None or data.shape != () or data.is_virtual or data.external:
        return None
    try:
        return data[()]  # numbers and text alone: h5py makes no other objects
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {path!r} is damaged ({error}): download it again") from error


def check_number(value: Any, what: str) -> float:
    """Return the value of an attribute as a finite number.

    Raises:
        UserError: it is anything else.
    """
    array = np.asarray(np.nan if value is None else value)
    if array.size != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise UserError(f"{what} is not a number: expected a strain file of GWOSC")
    return float(array.reshape(()))
