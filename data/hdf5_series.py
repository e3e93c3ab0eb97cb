"""Strain in HDF5 files of gwpy, PyCBC and the MLGWSC-1 challenge.

Each data set is a series and says itself when it starts and how it is sampled: gwpy in the
attributes x0 and dx, PyCBC and the challenge in start_time and delta_t. gwpy names the channel in
an attribute; a file of a TimeSeriesDict (such as aframe's background) has a data set for each
detector, named H1 or by its channel; the challenge has a group for each detector with a data set
for each segment, named by its GPS time, H1/1238205077; PyCBC names its only data set as it likes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.hdf5_files import (
    STRAIN,
    HDF5Strain,
    as_text,
    check_number,
    check_storage,
    open_hdf5,
    read_samples,
)
from data.quality_bits import times_excluded_by_bits
from data.recording import Source, StrainRequest, check_rate, explain_wrong_detector, file_digest
from data.strain_paths import detector_of_name
from data.time_segments import TimeSegments
from physics.sites import SITES
from runtime.errors import UserError

if TYPE_CHECKING:
    import h5py

TIMES = (("x0", "dx"), ("start_time", "delta_t"))  # start in GPS s, s between samples
MAX_LINKS = 100_000
OWN_CHANNEL = re.compile(r"([A-Z]\d):")  # H1:GDS-CALIB_STRAIN


@dataclass(frozen=True)
class SeriesFacts:
    """What a data set says of itself.

    Attributes:
        place: its path in the file.
        channel: the name of its channel, "" where it has none.
        detectors: those that its path and its channel name; more than one contradict each other.
        start: GPS, s.
        spacing: s between samples.
        size: samples.
    """

    place: str
    channel: str
    detectors: frozenset[str]
    start: float
    spacing: float
    size: int

    @property
    def series(self) -> str:
        """Its channel or path; segments of one series, as in H1/1238205077, share their group."""
        group, _, last = self.place.rpartition("/")
        return group if group and re.fullmatch(r"\d+(\.\d+)?", last) else self.place


class HDF5Series:
    """Strain of one data set. The file is opened for each read and holds nothing open.

    Args:
        path: the file.
        facts: of the data set.
        request: what is wanted of it.

    Raises:
        UserError: it is sampled too slowly, or data-quality bits are asked for.
    """

    def __init__(self, path: Path, facts: SeriesFacts, request: StrainRequest) -> None:
        self.path, self.place = path, facts.place
        self.name = f"{path}:{facts.place}"
        rate = 1 / facts.spacing if facts.spacing > 0 else math.nan
        self.rate = check_rate(rate, self.name, request.observation.sample_rate)
        self.start, self.size = facts.start, facts.size
        self.calibration = facts.channel.partition(":")[2]
        self.excluded = times_excluded_by_bits((), request.data_quality, path)

    def read(self, first: int, last: int) -> np.ndarray:
        return read_samples(self.path, self.place, first, last)

    def content_digest(self) -> str:
        # One file may hold several series.
        return f"{file_digest(self.path)} {self.place}"

    def data_segments(self) -> TimeSegments:
        return [(self.start, self.start + self.size / self.rate)]

    def excluded_segments(self) -> Mapping[str, TimeSegments]:
        return self.excluded


def open_hdf5_strain(path: Path, request: StrainRequest) -> list[Source]:
    """Open the strain of one detector in an HDF5 file of any of the known layouts.

    Raises:
        UserError: it has none, has several channels of the detector, or cannot be used.
    """
    with open_hdf5(path) as file:
        of_gwosc = has_gwosc_strain(file)
        series, links = ([], []) if of_gwosc else find_series(file, path)
    if of_gwosc:
        return [HDF5Strain(path, request)]
    if not series:
        of_links = f" ({links[0]!r} is a link and is not followed)" if links else ""
        raise UserError(
            f"{path} has no data set of strain{of_links}: expected {STRAIN!r} as in files of "
            f"GWOSC, or one with the attributes x0 and dx (gwpy) or start_time and delta_t (PyCBC)"
        )
    return [HDF5Series(path, facts, request) for facts in choose_series(series, path, request)]


def has_gwosc_strain(file: h5py.File) -> bool:
    """Return whether there is anything, if only a link, where GWOSC's files have their strain."""
    import h5py

    group, name = STRAIN.split("/")
    link = file.get(group, getlink=True)
    if not isinstance(link, h5py.HardLink):
        return link is not None  # `HDF5Strain` refuses a link
    inside = file[group]
    return isinstance(inside, h5py.Group) and inside.get(name, getlink=True) is not None


def find_series(file: h5py.File, path: Path) -> tuple[list[SeriesFacts], list[str]]:
    """Return the series of a file, and the links that were not followed.

    Raises:
        UserError: there are too many data sets, or what a series says of itself is no number.
    """
    import h5py

    found: list[SeriesFacts] = []
    links: list[str] = []
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    visited = {h5py.h5o.get_info(file["/"].id).addr}
    seen = 0
    while waiting:
        above, group = waiting.pop()
        for name in group:
            seen += 1
            if seen > MAX_LINKS:
                raise UserError(f"{path} has more than {MAX_LINKS:,} data sets: give smaller files")
            place = f"{above}/{name}" if above else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                links.append(place)
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                # A group may hold itself, or be reached by two names.
                address = h5py.h5o.get_info(item.id).addr
                if address not in visited:
                    visited.add(address)
                    waiting.append((place, item))
            elif isinstance(item, h5py.Dataset):
                facts = describe_series(item, place, path)
                if facts is not None:
                    found.append(facts)
    return found, links


def describe_series(data: h5py.Dataset, place: str, path: Path) -> SeriesFacts | None:
    """Return what a data set says of itself, or None where it is no series of numbers with time.

    Raises:
        UserError: it states its times, and they are no numbers.
    """
    attributes = data.attrs
    names = next((pair for pair in TIMES if all(name in attributes for name in pair)), None)
    if names is None or data.dtype.kind != "f":
        return None
    start, spacing = (
        check_number(attributes[name], f"{path}: the attribute {name} of {place!r}")
        for name in names
    )
    channel = next(
        (
            text
            for text in (as_text(attributes.get(key)) for key in ("channel", "name"))
            if OWN_CHANNEL.match(text.upper())
        ),
        "",
    )
    # Components of the path, as in H1/1238205077 or H1:GDS-CALIB_STRAIN.
    parts = place.upper().split("/")
    detectors = {part for part in parts if part in SITES}
    detectors |= {
        match[1] for part in [*parts, channel.upper()] if (match := OWN_CHANNEL.match(part))
    }
    return SeriesFacts(place, channel, frozenset(detectors), start, spacing, len(data))


def choose_series(
    series: list[SeriesFacts], path: Path, request: StrainRequest
) -> list[SeriesFacts]:
    """Return the data sets of one detector and channel.

    Raises:
        UserError: there is none or there are several channels, or a data set contradicts itself.
    """
    detector = request.detector
    own = [facts for facts in series if detector in facts.detectors]
    if not own:
        named = sorted({name for facts in series for name in facts.detectors})
        if named:
            raise UserError(explain_wrong_detector(str(path), " and ".join(named), request))
        # Nothing in the file says whose strain it is; its name may.
        by_name = detector_of_name(path)
        if by_name not in (None, detector):
            raise UserError(explain_wrong_detector(str(path), str(by_name), request))
        own = series
    for facts in own:
        if len(facts.detectors) > 1:
            raise UserError(
                f"{path}: {facts.place!r} names {' and '.join(sorted(facts.detectors))} at once "
                f"(its channel is {facts.channel!r}): correct the file"
            )
    if request.channel is not None:
        wanted = request.channel.upper()  # as for detectors, lower case is accepted
        chosen = [facts for facts in own if wanted in (facts.channel.upper(), facts.series.upper())]
    else:
        chosen = own
        if len({facts.series for facts in own}) > 1:
            # As in frame files, one of several channels is the strain.
            chosen = [
                facts for facts in own if "STRAIN" in f"{facts.series} {facts.channel}".upper()
            ]
    names = sorted({facts.channel or facts.series for facts in own})
    if not chosen or len({facts.series for facts in chosen}) > 1:
        which = f"no channel {request.channel!r}" if request.channel else "several channels"
        raise UserError(
            f"{path} has {which} of {detector}: name one with --channel {detector}=NAME out of "
            f"{', '.join(names[:6])}"
        )
    with open_hdf5(path) as file:
        for facts in chosen:
            check_storage(file[facts.place], facts.place, path)
    return chosen
