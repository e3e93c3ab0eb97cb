"""Real strain: GWOSC's HDF5 and GWF files and its open-data service, read in parts.

Files come from strangers. Of an HDF5 file only the data set `strain/Strain` is read, and only if
it lies in the file itself as plain floating-point numbers. Refused are links to other files,
virtual and external data sets, Python objects (which are unpickled, and that runs code) and
filters that HDF5 would load as plug-ins.
"""

from __future__ import annotations

import hashlib
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
from search.frame_files import EXTRA, call_in_reading_process, describe_frames, read_frames

if TYPE_CHECKING:
    import h5py

STRAIN = "strain/Strain"
SITES = {"H1": "Hanford", "L1": "Livingston", "V1": "Virgo"}
# gzip, shuffle, Fletcher's checksum, szip, n-bit, scale-offset and LZF: all that h5py itself can
# write. HDF5 would load any other as a plug-in.
ALLOWED_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
MAX_CHUNK_BYTES = 2**28  # bytes that one compressed chunk may grow to
MAX_SAMPLES = 2**40  # two years at 16 kHz; more is a damaged header
EVENT_SECONDS = 512  # fetched around an event


class Source(Protocol):
    """Evenly sampled strain of one detector, of which any part can be read."""

    name: str
    rate: int  # Hz
    start: float  # GPS, s
    size: int  # samples

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first to last - 1, (last - first,) float64."""

    def content_digest(self) -> str:
        """Return a digest of all that can be read."""


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
        with self.open_file() as file:
            data = find_dataset(file, STRAIN, path)
            check_storage(data, path)
            spacing = check_number(data.attrs.get("Xspacing"), f"{path}: the attribute Xspacing")
            self.rate = check_rate(1 / spacing if spacing > 0 else math.nan, self.name)
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


def explain_wrong_detector(path: Path, found: str, detector: str) -> str:
    """Return a sentence for a file of a detector other than the one it was given for."""
    known = found.upper() in SITES
    advice = f"write {found.upper()}={path}" if known else f"give a file of {detector} itself"
    unknown = "" if known else ", which the networks do not know,"
    return f"{path} holds strain of {found}{unknown} and was given for {detector}: {advice}"


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


def check_rate(rate: float, where: str) -> int:
    """Return a sampling rate as a whole number of Hz.

    Raises:
        UserError: it is not a whole number, or is below the 2,048 Hz that the networks need.
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
    """Strain of a GWF frame file. Only the frames that a read touches are read from disk.

    Args:
        path: the file.
        detector: whose strain to read.
        channel: its channel; None takes the only one of the detector with "STRAIN" in its name.

    Raises:
        UserError: gwpy or its reader of frames is missing, the file is damaged, the channel is of
            another detector, or several channels fit.
    """

    def __init__(self, path: Path, detector: str, channel: str | None = None) -> None:
        if channel is not None:
            check_channel(channel, detector)
        require("gwpy", EXTRA)
        self.path, self.name = path, str(path)
        self.channel, rate, self.start, self.end = call_in_reading_process(
            describe_frames, path, detector, channel
        )
        self.rate = check_rate(rate, self.name)
        self.size = round((self.end - self.start) * self.rate)

    def read(self, first: int, last: int) -> np.ndarray:
        # One sample more on either side, so that the way gwpy rounds times does not matter.
        start = max(self.start + (first - 1) / self.rate, self.start)
        end = min(self.start + (last + 1) / self.rate, self.end)
        origin, part = call_in_reading_process(read_frames, self.path, self.channel, start, end)
        skip = first - round((origin - self.start) * self.rate)
        if skip not in (0, 1) or len(part) < skip + last - first:
            raise UserError(
                f"{self.path} is damaged: samples {first} to {last} are not there; download it "
                f"again"
            )
        return part[skip : skip + last - first]

    def content_digest(self) -> str:
        # one file may hold several channels
        return f"{file_digest(self.path)} {self.channel}"


def check_channel(channel: str, detector: str) -> None:
    """Check that a channel is one of a detector's: their names begin as in "L1:GDS-CALIB_STRAIN".

    Raises:
        UserError: it is not.
    """
    prefix, colon, _ = channel.partition(":")
    if not colon or prefix.upper() != detector:
        raise UserError(
            f"--channel {detector}={channel}: the name of a channel of {detector} begins with "
            f"{detector}: and this one is {f'of {prefix}' if colon else 'of no detector'}"
        )


class StrainInMemory:
    """Strain in memory, such as fetched from the open-data service.

    Args:
        name: how messages name it.
        values: (samples,).
        rate: Hz.
        start: GPS, s.
    """

    def __init__(self, name: str, values: np.ndarray, rate: int, start: float) -> None:
        self.name, self.values = name, np.asarray(values, np.float64)
        self.rate, self.start, self.size = rate, start, len(values)

    def read(self, first: int, last: int) -> np.ndarray:
        return self.values[first:last]

    def content_digest(self) -> str:
        content = hashlib.blake2b(f"{self.rate} {self.start!r} ".encode(), digest_size=16)
        content.update(np.ascontiguousarray(self.values).data)
        return content.hexdigest()


def file_digest(path: Path) -> str:
    """Return a digest of the bytes of a file."""
    content = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(2**22):
            content.update(block)
    return content.hexdigest()


def fetch_event(event: str, seconds: float = EVENT_SECONDS) -> dict[str, Recording]:
    """Return the open strain around an event of GWOSC's catalogues, of each detector that has it.

    Args:
        event: e.g. 'GW150914'.
        seconds: of strain, the event in the middle.

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
            rate = check_rate(float(part.sample_rate.value), f"{event} of {detector}")
            held = StrainInMemory(f"{event} of {detector}", part.value, rate, float(part.t0.value))
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
    """The strain of one detector, from one file or several; NaN where there is none.

    Args:
        detector: "H1", "L1" or "V1".
        sources: in any order.

    Raises:
        UserError: the sources differ in their sampling rates, or overlap in time.
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

    def content_digests(self) -> list[str]:
        """Return a digest of each of its sources, in order of time."""
        return [source.content_digest() for source in self.sources]

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
    """Open the strain files that the command line names.

    Args:
        words: 'H1=FILE', or 'h1=FILE'; several files of one detector are joined.
        channels: 'H1=NAME' of frame files.

    Raises:
        UserError: a word has another form, the detector is unknown, or a file cannot be used.
    """
    names = dict(split_at_detector(word, "--channel", "NAME") for word in channels)
    sources: dict[str, list[Source]] = {}
    for word in words:
        detector, text = split_at_detector(word, "--strain", "FILE")
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


def split_at_detector(word: str, option: str, what: str) -> tuple[str, str]:
    """Return ('H1', 'value') for 'H1=value'.

    Raises:
        UserError: the word has another form, or the detector is unknown.
    """
    written, equals, text = word.partition("=")
    if not equals or not text:
        raise UserError(f"{option} {word!r}: expected DETECTOR={what}, e.g. H1={what}")
    detector = written.upper()
    if detector not in SITES:
        raise UserError(
            f"{option} {word}: there is no detector {written!r}{nearest(detector, SITES)}: choose "
            f"from {', '.join(f'{name} ({site})' for name, site in SITES.items())}"
        )
    return detector, text
