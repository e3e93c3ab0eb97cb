"""Real strain on disk: GWOSC's HDF5 and GWF files and its open-data service, read by stretches.

A file is a guest. Of an HDF5 file one data set is read, `strain/Strain`, and only where it lies in
the file itself as plain numbers: no link that leads elsewhere, no virtual or external data set, no
objects, which could only be made by unpickling, and no filter beyond those of HDF5 itself.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from physics.constants import DETECTORS, SAMPLE_RATE
from runtime.errors import UserError, nearest
from runtime.optional_packages import require
from search.frame_files import EXTRA, apart, describe_frames, read_frames

if TYPE_CHECKING:
    import h5py

STRAIN = "strain/Strain"
SITES = {"H1": "Hanford", "L1": "Livingston", "V1": "Virgo"}
# gzip, shuffle, Fletcher's checksum, szip, n-bit, scale-offset and LZF: all that h5py itself can
# write. HDF5 would load any other as a plug-in.
FILTERS = {1, 2, 3, 4, 5, 6, 32000}
CHUNK_LIMIT = 2**28  # bytes that one compressed chunk may grow to
LONGEST = 2**40  # samples; beyond it a duration is nonsense
EVENT_SECONDS = 512  # fetched around an event


class Source(Protocol):
    """Evenly sampled strain of one detector, of which any part can be read."""

    name: str
    rate: int  # Hz
    start: float  # GPS, s
    size: int  # samples

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first to last - 1, (last - first,) float64."""


# --- HDF5 ------------------------------------------------------------------------------------


class HDF5Strain:
    """Strain of a GWOSC HDF5 file. The file is opened for each read and holds nothing open.

    Args:
        path: the file.
        detector: whose strain it should be.

    Raises:
        UserError: it is damaged, is not laid out as GWOSC's files are, or belongs to another
            detector.
    """

    def __init__(self, path: Path, detector: str) -> None:
        self.path, self.name = path, str(path)
        with self.opened() as file:
            data = hard_dataset(file, STRAIN, path)
            check_storage(data, path)
            spacing = number(data.attrs.get("Xspacing"), f"{path}: the attribute Xspacing")
            self.rate = whole_rate(1 / spacing if spacing > 0 else math.nan, self.name)
            start = data.attrs.get("Xstart")
            if start is None:
                start = scalar(file, "meta/GPSstart", path)
            self.start = number(start, f"{path}: the start, Xstart or meta/GPSstart,")
            self.size = len(data)
            written = scalar(file, "meta/Detector", path)
        text = written.decode("ascii", "replace") if isinstance(written, bytes) else ""
        if text in DETECTORS and text != detector:
            raise UserError(
                f"{path} holds strain of {text} and was given for {detector}: write {text}={path}"
            )

    def opened(self) -> h5py.File:
        h5py = require("h5py", EXTRA)
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise UserError(f"{self.path} is damaged ({error}): download it again") from error

    def read(self, first: int, last: int) -> np.ndarray:
        with self.opened() as file:
            data = hard_dataset(file, STRAIN, self.path)
            check_storage(data, self.path)  # it may have been replaced since
            try:
                return np.asarray(data[first:last], np.float64)
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"{self.path} is damaged between samples {first} and {last} "
                    f"({str(error).splitlines()[0]}): download it again"
                ) from error


def hard_dataset(
    file: h5py.File, path: str, where: Path, optional: bool = False
) -> h5py.Dataset | None:
    """Return a data set of the file that is reached by hard links alone.

    Args:
        optional: return None where it is missing.

    Raises:
        UserError: it is missing, is no data set, or a link leads there.
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
    """Check that a data set is a row of plain floating-point numbers within its file.

    Raises:
        UserError: it is not.
    """
    if data.dtype.kind != "f":
        raise UserError(
            f"{where}: {STRAIN!r} holds {data.dtype} and not floating-point numbers, and is not "
            f"read: expected a strain file of GWOSC"
        )
    if data.ndim != 1 or not 0 < data.size < LONGEST:
        raise UserError(f"{where}: {STRAIN!r} has the shape {data.shape}, expected one long row")
    if data.is_virtual or data.external:
        raise UserError(
            f"{where}: {STRAIN!r} keeps its numbers in other files and is not read: copy them "
            f"into the file"
        )
    created = data.id.get_create_plist()
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if filters - FILTERS:
        raise UserError(
            f"{where}: {STRAIN!r} is packed by a plug-in (filter {min(filters - FILTERS)}) and is "
            f"not read: write it with gzip or without compression"
        )
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > CHUNK_LIMIT:
        raise UserError(
            f"{where}: {STRAIN!r} is packed in chunks of {math.prod(data.chunks):,} numbers, too "
            f"large to read in parts: write it in smaller chunks"
        )


def scalar(file: h5py.File, path: str, where: Path) -> Any:
    """Return the one number or text at a path, None where there is no such thing.

    Raises:
        UserError: a link leads there, or it is damaged.
    """
    data = hard_dataset(file, path, where, optional=True)
    if data is None or data.shape != () or data.is_virtual or data.external:
        return None
    try:
        return data[()]  # numbers and text alone: h5py makes no other objects
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {path!r} is damaged ({error}): download it again") from error


def number(value: Any, what: str) -> float:
    """Return a finite number out of an attribute.

    Raises:
        UserError: it is none.
    """
    array = np.asarray(np.nan if value is None else value)
    if array.size != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise UserError(f"{what} is not a number: expected a strain file of GWOSC")
    return float(array.reshape(()))


def whole_rate(rate: float, where: str) -> int:
    """Return a sampling rate in Hz.

    Raises:
        UserError: it is not a whole number, or too low for what the networks take.
    """
    if not math.isfinite(rate) or abs(rate - round(rate)) > 1e-8 * rate or rate > 2**20:
        raise UserError(f"{where}: a sampling rate of {rate:g} Hz is not a whole number of Hz")
    if round(rate) < SAMPLE_RATE:
        raise UserError(
            f"{where} is sampled at {rate:g} Hz and the networks take {SAMPLE_RATE} Hz: use the "
            f"4 kHz or 16 kHz file"
        )
    return round(rate)


# --- GWF and open data -----------------------------------------------------------------------


class GWFStrain:
    """Strain of a frame file. A read takes in the frames that it touches, not the whole file.

    Args:
        path: the file.
        detector: whose strain to read.
        channel: its channel; None looks for the only one of the detector that is called strain.

    Raises:
        UserError: gwpy or its reader is missing, the file is damaged, or the channel is not clear.
    """

    def __init__(self, path: Path, detector: str, channel: str | None = None) -> None:
        require("gwpy", EXTRA)
        self.path, self.name = path, str(path)
        self.channel, rate, self.start, self.end = apart(describe_frames, path, detector, channel)
        self.rate = whole_rate(rate, self.name)
        self.size = round((self.end - self.start) * self.rate)

    def read(self, first: int, last: int) -> np.ndarray:
        # A sample more on either side: how gwpy rounds a time decides nothing here.
        start = max(self.start + (first - 1) / self.rate, self.start)
        end = min(self.start + (last + 1) / self.rate, self.end)
        origin, part = apart(read_frames, self.path, self.channel, start, end)
        skip = first - round((origin - self.start) * self.rate)
        if skip not in (0, 1) or len(part) < skip + last - first:
            raise UserError(
                f"{self.path} is damaged: samples {first} to {last} are not there; download it "
                f"again"
            )
        return part[skip : skip + last - first]


class HeldStrain:
    """Strain held in memory, such as was fetched.

    Args:
        name: what to call it in messages.
        values: (samples,).
        rate: Hz.
        start: GPS, s.
    """

    def __init__(self, name: str, values: np.ndarray, rate: int, start: float) -> None:
        self.name, self.values = name, np.asarray(values, np.float64)
        self.rate, self.start, self.size = rate, start, len(values)

    def read(self, first: int, last: int) -> np.ndarray:
        return self.values[first:last]


def fetch_event(event: str, seconds: float = EVENT_SECONDS) -> dict[str, Recording]:
    """Return the open strain around an event of GWOSC's catalogues, of each detector that has it.

    Args:
        event: e.g. 'GW150914'.
        seconds: how much, the event in its middle.

    Raises:
        UserError: there is no network or no such event.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", event):
        raise UserError(f"--event {event!r} is no name of an event: expected e.g. GW150914")
    series = require("gwpy.timeseries", EXTRA).TimeSeries
    catalogue = require("gwosc.datasets", EXTRA)
    found = {}
    try:
        gps = catalogue.event_gps(event)
        start = math.floor(gps - seconds / 2)
        there = set(catalogue.event_detectors(event))
        for detector in (name for name in DETECTORS if name in there):
            part = series.fetch_open_data(detector, start, start + seconds, sample_rate=4096)
            rate = whole_rate(float(part.sample_rate.value), f"{event} of {detector}")
            held = HeldStrain(f"{event} of {detector}", part.value, rate, float(part.t0.value))
            found[detector] = Recording(detector, [held])
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        why = textwrap.shorten(str(error) or type(error).__name__, 120)
        raise UserError(
            f"--event {event}: the strain cannot be fetched from gwosc.org ({why}): check the "
            f"name and the network, or download the files elsewhere and give them with --strain"
        ) from error
    if not found:
        raise UserError(f"--event {event}: gwosc.org has no strain of {', '.join(DETECTORS)}")
    return found


# --- one detector ----------------------------------------------------------------------------


class Recording:
    """The strain of a detector, out of one file or several in a row; NaN wherever there is none.

    Args:
        detector: "H1", "L1" or "V1".
        sources: in any order.

    Raises:
        UserError: they differ in their sampling rates, or overlap.
    """

    def __init__(self, detector: str, sources: Sequence[Source]) -> None:
        self.detector = detector
        self.sources = sorted(sources, key=lambda source: source.start)
        self.rate = self.sources[0].rate
        for before, after in zip(self.sources, self.sources[1:], strict=False):
            if after.rate != self.rate:
                raise UserError(
                    f"{after.name} is sampled at {after.rate} Hz and {before.name} at "
                    f"{self.rate} Hz: give files of one rate for {detector}"
                )
            if after.start < before.start + before.size / before.rate - 0.5 / self.rate:
                raise UserError(
                    f"{before.name} and {after.name} overlap: give each second of {detector} once"
                )
        self.start = self.sources[0].start
        last = self.sources[-1]
        self.end = last.start + last.size / last.rate

    def read(self, start: float, count: int) -> np.ndarray:
        """Return `count` samples from a GPS time on, (count,) float64."""
        values = np.full(count, np.nan)
        for source in self.sources:
            # position of the first sample wanted within the source, which may be negative
            first = round((start - source.start) * self.rate)
            low, high = max(first, 0), min(first + count, source.size)
            if low < high:
                values[low - first : high - first] = source.read(low, high)
        return values


def open_recordings(words: Sequence[str], channels: Sequence[str] = ()) -> dict[str, Recording]:
    """Open what the command line names.

    Args:
        words: 'H1=FILE'; a detector may come again, with the next file.
        channels: 'H1=NAME' of frame files.

    Raises:
        UserError: a word is not of that form, the detector is not known, or a file is wrong.
    """
    names = dict(split_word(word, "--channel", "NAME") for word in channels)
    sources: dict[str, list[Source]] = {}
    for word in words:
        detector, text = split_word(word, "--strain", "FILE")
        path = Path(text)
        if not path.is_file():
            raise UserError(f"--strain {word}: there is no file {path}: check its name")
        with open(path, "rb") as file:
            magic = file.read(8)
        if magic == b"\x89HDF\r\n\x1a\n":
            source: Source = HDF5Strain(path, detector)
        elif magic[:4] == b"IGWD":
            source = GWFStrain(path, detector, names.get(detector))
        else:
            raise UserError(f"{path} is neither HDF5 nor GWF: expected a strain file of GWOSC")
        sources.setdefault(detector, []).append(source)
    return {name: Recording(name, sources[name]) for name in DETECTORS if name in sources}


def split_word(word: str, option: str, what: str) -> tuple[str, str]:
    """Return detector and value of 'H1=value'."""
    detector, equals, text = word.partition("=")
    if not equals or not text:
        raise UserError(f"{option} {word!r}: expected DETECTOR={what}, e.g. H1={what}")
    if detector not in SITES:
        raise UserError(
            f"{option} {word}: there is no detector {detector!r}{nearest(detector, SITES)}: choose "
            f"from {', '.join(f'{name} ({site})' for name, site in SITES.items())}"
        )
    return detector, text
