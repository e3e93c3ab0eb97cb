"""Strain in GWOSC's HDF5 files, and how data sets of HDF5 files from strangers are read.

Of a GWOSC file `strain/Strain` is read, and the bits under `quality/`. A data set is read only if
it lies in the file itself as plain numbers. Refused are links to other files, virtual and external
data sets, Python objects (which are unpickled, and that runs code) and filters that HDF5 would load
as plug-ins.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.gwf_reading_process import EXTRA
from data.quality_bits import QualityMask, times_excluded_by_bits
from data.recording import StrainRequest, check_rate, explain_wrong_detector, file_digest
from data.strain_paths import calibration_of_name, detector_of_name
from data.time_segments import TimeSegments
from runtime.errors import UserError
from runtime.optional_packages import require

if TYPE_CHECKING:
    import h5py


STRAIN = "strain/Strain"
# The masks of GWOSC's files: their numbers and the names of their bits.
MASKS = (
    ("quality/simple/DQmask", "quality/simple/DQShortnames"),
    ("quality/injections/Injmask", "quality/injections/InjShortnames"),
)
# gzip, shuffle, Fletcher's checksum, szip, n-bit, scale-offset and LZF: all that h5py itself can
# write. HDF5 would load any other as a plug-in.
ALLOWED_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
MAX_CHUNK_BYTES = 2**28  # bytes that one compressed chunk may grow to
MAX_SAMPLES = 2**40  # two years at 16 kHz; more is a damaged header
MAX_MASK = 2**24  # samples of a mask: a month at 1 Hz is 2.6 million


class HDF5Strain:
    """Strain of a GWOSC HDF5 file. The file is opened for each read and holds nothing open.

    Args:
        path: the file.
        request: what is wanted of it.

    Raises:
        UserError: it is damaged, is sampled too slowly, is not laid out as GWOSC's files are,
            belongs to another detector, or lacks a data-quality bit that is asked for.
    """

    def __init__(self, path: Path, request: StrainRequest) -> None:
        self.path, self.name = path, str(path)
        with open_hdf5(path) as file:
            data = find_dataset(file, STRAIN, path)
            check_storage(data, STRAIN, path)
            spacing = check_number(data.attrs.get("Xspacing"), f"{path}: the attribute Xspacing")
            rate = 1 / spacing if spacing > 0 else math.nan
            self.rate = check_rate(rate, self.name, request.observation.sample_rate)
            start = data.attrs.get("Xstart")
            if start is None:
                start = read_scalar(file, "meta/GPSstart", path)
            self.start = check_number(start, f"{path}: the start, Xstart or meta/GPSstart,")
            self.size = len(data)
            detector = as_text(read_scalar(file, "meta/Detector", path))
            masks = read_masks(file, path, self.start)
            # Files since the second observing run name the channel of the strain.
            channel = as_text(read_scalar(file, "strain/GWOSCmeta", path))
        # A file that does not say whose strain it holds may do so by its name.
        detector = detector or detector_of_name(path) or request.detector
        if detector.upper() != request.detector:
            raise UserError(explain_wrong_detector(self.name, detector, request))
        self.calibration = channel or calibration_of_name(path)
        self.excluded = times_excluded_by_bits(masks, request.data_quality, path)

    def content_digest(self) -> str:
        return file_digest(self.path)

    def data_segments(self) -> TimeSegments:
        return [(self.start, self.start + self.size / self.rate)]

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return self.excluded

    def read(self, first: int, last: int) -> np.ndarray:
        return read_samples(self.path, STRAIN, first, last)


def read_masks(file: h5py.File, path: Path, start: float) -> list[QualityMask]:
    """Return the data-quality and injection bits of a GWOSC file; files without them have none.

    Args:
        file: the open file.
        path: for messages.
        start: GPS time of the strain, where a mask does not state its own.

    Raises:
        UserError: a mask is damaged.
    """
    masks = []
    for place, names_place in MASKS:
        mask = find_dataset(file, place, path, optional=True)
        names = find_dataset(file, names_place, path, optional=True)
        if mask is None or names is None:
            continue
        if mask.dtype.kind not in "iu" or mask.ndim != 1 or not 0 < mask.size < MAX_MASK:
            raise UserError(
                f"{path}: {place!r} is no row of whole numbers: download the file again"
            )
        check_plain_storage(mask, place, path)
        check_plain_storage(names, names_place, path)
        if names.dtype.kind not in "SO" or names.ndim != 1 or names.size > 64:
            raise UserError(f"{path}: {names_place!r} holds no names: download the file again")
        words = [as_text(word).upper() for word in names[()]]
        first = check_number(mask.attrs.get("Xstart", start), f"{path}: Xstart of {place!r}")
        spacing = check_number(mask.attrs.get("Xspacing", 1.0), f"{path}: Xspacing of {place!r}")
        if spacing <= 0:
            raise UserError(
                f"{path}: Xspacing of {place!r} is {spacing:g}: download the file again"
            )
        masks.append(QualityMask(words, mask[()], first, spacing))
    return masks


# --- files from strangers -----------------------------------------------------------------------


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read; what h5py raises of damaged ones becomes a `UserError`.

    Raises:
        UserError: h5py is missing, or the file is damaged.
    """
    h5py = require("h5py", EXTRA)
    try:
        with h5py.File(path, "r") as file:
            yield file
    # A link to nothing is a KeyError, a type that does not exist a TypeError or a ValueError, and
    # what HDF5 itself notices an OSError or a RuntimeError.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged ({first}): download it again") from error


def read_samples(path: Path, place: str, first: int, last: int) -> np.ndarray:
    """Return samples first to last - 1 of a data set, (last - first,) float64.

    Raises:
        UserError: the file is damaged, or is no longer what it was.
    """
    with open_hdf5(path) as file:
        data = find_dataset(file, place, path)
        check_storage(data, place, path)  # it may have been replaced since
        try:
            values = np.asarray(data[first:last], np.float64)
        except (OSError, RuntimeError) as error:  # says where
            raise UserError(
                f"{path} is damaged between samples {first} and {last} "
                f"({str(error).splitlines()[0]}): download it again"
            ) from error
    if len(values) != last - first:
        raise UserError(f"{path} has become shorter while it was read: run the command again")
    return values


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
            raise UserError(f"{where} has no data set {path!r}: give a whole file of GWOSC")
        if not isinstance(link, h5py.HardLink):
            raise UserError(
                f"{where}: {path!r} is a link that may lead out of the file and is not followed: "
                f"copy the strain itself into the file"
            )
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        raise UserError(f"{where}: {path!r} is a group, expected a data set")
    return group


def check_storage(data: h5py.Dataset, place: str, where: Path) -> None:
    """Check that a data set is one row of plain floating-point numbers that lie in its file.

    Raises:
        UserError: it holds another type, has another shape, or keeps its numbers elsewhere.
    """
    if data.dtype.kind != "f":
        raise UserError(
            f"{where}: {place!r} holds {data.dtype} and not floating-point numbers, and is not "
            f"read: expected strain"
        )
    if data.ndim != 1 or not 0 < data.size < MAX_SAMPLES:
        raise UserError(f"{where}: {place!r} has the shape {data.shape}, expected one long row")
    check_plain_storage(data, place, where)


def check_plain_storage(data: h5py.Dataset, place: str, where: Path) -> None:
    """Check that a data set lies in its file, packed by nothing but HDF5's own filters.

    Raises:
        UserError: it does not, or is packed in chunks that are too large.
    """
    if data.is_virtual or data.external:
        raise UserError(
            f"{where}: {place!r} keeps its numbers in other files and is not read: copy them "
            f"into the file"
        )
    created = data.id.get_create_plist()
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if filters - ALLOWED_FILTERS:
        raise UserError(
            f"{where}: {place!r} is packed by a plug-in (filter "
            f"{min(filters - ALLOWED_FILTERS)}) and is not read: write it with gzip or "
            f"without compression"
        )
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > MAX_CHUNK_BYTES:
        raise UserError(
            f"{where}: {place!r} is packed in chunks of {math.prod(data.chunks):,} numbers, too "
            f"large to read in parts: write it in smaller chunks"
        )


def read_scalar(file: h5py.File, path: str, where: Path) -> Any:
    """Return the single number or text at a path, or None where there is none.

    Raises:
        UserError: it is reached by a link.
    """
    data = find_dataset(file, path, where, optional=True)
    if data is None or data.shape != () or data.is_virtual or data.external:
        return None
    return data[()]  # numbers and text alone: h5py makes no other objects


def check_number(value: Any, what: str) -> float:
    """Return the value of an attribute as a finite number.

    Raises:
        UserError: it is anything else.
    """
    array = np.asarray(np.nan if value is None else value)
    if array.size != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise UserError(f"{what} is not a number: give a whole strain file")
    return float(array.reshape(()))


def as_text(value: Any) -> str:
    """Return text that HDF5 holds as bytes or as text, without spaces around it; "" for others."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip() if isinstance(value, str) else ""
