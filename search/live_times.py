"""How long each slide of each stretch was searched, which rates of false alarms are counted by."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search.columns import check_columns
from search.trigger_table import NAME_BYTES

if TYPE_CHECKING:
    import h5py

COLUMNS = ("stretch", "slide", "start", "end", "seconds", "shifts", "combination")


@dataclass(frozen=True)
class LiveTimes:
    """One row for each slide of each stretch; n is their number and D that of detectors.

    Attributes:
        detectors: observed, in the order of the columns of `shifts`.
        stretch: (n,) number of the stretch.
        slide: (n,) number of the slide; 0 is the strain as it was recorded.
        start, end: (n,) of the stretch, GPS, s.
        seconds: (n,) that were searched.
        shifts: (n, D) of each detector, s; NaN where it has no strain.
        combination: (n,) names of the detectors with strain, such as 'H1L1'.
    """

    detectors: tuple[str, ...]
    stretch: np.ndarray
    slide: np.ndarray
    start: np.ndarray
    end: np.ndarray
    seconds: np.ndarray
    shifts: np.ndarray
    combination: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)

    @classmethod
    def of_stretch(
        cls,
        detectors: Sequence[str],
        number: int,
        bounds: tuple[float, float],
        stretch_detectors: Sequence[str],
        slides: Sequence[Mapping[str, float]],
        seconds: np.ndarray,
    ) -> LiveTimes:
        """Return the rows of one stretch.

        Args:
            detectors: observed.
            number: of the stretch.
            bounds: its start and end, GPS, s.
            stretch_detectors: those with strain.
            slides: shifts by detector, s; the first is the strain as it was recorded.
            seconds: (slides,) that were searched.
        """
        count = len(slides)
        shifts = np.full((count, len(detectors)), np.nan)
        for place, name in enumerate(detectors):
            if name in stretch_detectors:
                shifts[:, place] = [slide.get(name, 0.0) for slide in slides]
        return cls(
            tuple(detectors),
            stretch=np.full(count, number, np.int32),
            slide=np.arange(count, dtype=np.int32),
            start=np.full(count, float(bounds[0])),
            end=np.full(count, float(bounds[1])),
            seconds=np.asarray(seconds, np.float64),
            shifts=shifts,
            combination=np.full(count, "".join(stretch_detectors)),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the columns by name, as `from_arrays` takes them."""
        return {name: getattr(self, name) for name in COLUMNS}

    @classmethod
    def from_arrays(
        cls, detectors: Sequence[str], arrays: Mapping[str, np.ndarray], where: str
    ) -> LiveTimes:
        """Return live times of columns that were read from a file.

        Args:
            detectors: of the columns by detector.
            arrays: columns by name; others are left out.
            where: the file, for messages.

        Raises:
            UserError: a column is missing, or has another shape.
        """
        count = arrays["seconds"].size if "seconds" in arrays else 0
        shapes = {
            name: (count, len(detectors)) if name == "shifts" else (count,) for name in COLUMNS
        }
        check_columns(arrays, shapes, where, "live times")
        return cls(tuple(detectors), **{name: arrays[name] for name in COLUMNS})

    def take(self, rows: np.ndarray) -> LiveTimes:
        """Return some rows, by a mask or by their numbers."""
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def count_short_of_slides(self, wanted: int) -> tuple[int, int]:
        """Return how many pieces of strain have fewer time slides than wanted, and of how many.

        A piece is a stretch, or a part of one that some of its detectors interrupt. Those of a
        single detector cannot be slid and do not count.
        """
        several = np.isfinite(self.shifts).sum(axis=1) > 1
        rows = zip(
            self.stretch[several].tolist(),
            self.start[several].tolist(),
            self.end[several].tolist(),
            self.combination[several].tolist(),
            strict=True,
        )
        pieces = Counter(rows)  # the strain as it was recorded has a row as well
        return sum(count - 1 < wanted for count in pieces.values()), len(pieces)

    def total_by_combination(self) -> dict[str, float]:
        """Return the seconds of all rows, by combination."""
        names = sorted(set(self.combination.tolist()))
        return {name: float(self.seconds[self.combination == name].sum()) for name in names}


def concatenate_live_times(parts: Sequence[LiveTimes]) -> LiveTimes:
    """Return the rows of several tables of the same detectors as one; at least one table."""
    return dataclasses.replace(
        parts[0],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS},
    )


def write_live_group(group: h5py.Group, live: LiveTimes) -> None:
    """Write live times into an empty group of an HDF5 file."""
    group.attrs["detectors"] = list(live.detectors)
    for name in COLUMNS:
        values = getattr(live, name)
        group[name] = values.astype(f"S{NAME_BYTES}") if name == "combination" else values


def read_live_group(group: h5py.Group, where: str) -> LiveTimes:
    """Return what `write_live_group` wrote.

    Args:
        group: of an HDF5 file.
        where: the file, for messages.

    Raises:
        UserError: a column is missing, or is of another length.
    """
    detectors = tuple(str(name) for name in group.attrs.get("detectors", ()))
    arrays = {name: group[name][()] for name in COLUMNS if name in group}
    if "combination" in arrays:
        arrays["combination"] = arrays["combination"].astype("U")
    return LiveTimes.from_arrays(detectors, arrays, where)


class ExcludedTime:
    """Spans of recorded time that no slide may show in any detector.

    Args:
        live: rows of slides.

    Attributes:
        seconds: (n,) of each row that remain.
    """

    def __init__(self, live: LiveTimes) -> None:
        self.live = live
        self.seconds = live.seconds.copy()
        # of each row's own time, counted from the start of the stretch
        self._pieces: dict[int, list[tuple[float, float]]] = {}

    def add(self, begin: float, end: float) -> float:
        """Exclude a span of recorded time, GPS in s, and return how many seconds are lost to it.

        Where the strain cannot be searched anyway, the span counts nevertheless: live time is
        rather too short than too long.
        """
        live, before = self.live, float(self.seconds.sum())
        for row in np.flatnonzero((live.start < end) & (live.end > begin)):
            pieces = self._pieces.setdefault(int(row), [])
            pieces += find_slid_spans(live, row, begin, end)
            pieces[:] = merge_spans(pieces)
            lost = sum(last - first for first, last in pieces)
            self.seconds[row] = max(live.seconds[row] - lost, 0.0)
        return before - float(self.seconds.sum())


def find_slid_spans(
    live: LiveTimes, row: int, begin: float, end: float
) -> list[tuple[float, float]]:
    """Return when a slide shows a span of recorded time in one of its detectors.

    Args:
        live: rows of slides.
        row: which one.
        begin, end: GPS, s.

    Returns:
        Spans of the slide's time, s after the start of its stretch.
    """
    start, length = live.start[row], live.end[row] - live.start[row]
    low, high = max(begin - start, 0.0), min(end - start, length)
    spans = []
    for shift in live.shifts[row][np.isfinite(live.shifts[row])]:
        # the detector shows at t what it recorded at t + shift, on the ring
        first = (low - shift) % length
        last = first + high - low
        spans.append((first, min(last, length)))
        if last > length:
            spans.append((0.0, last - length))
    return spans


def merge_spans(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return sorted spans of time that do not overlap and cover the same times."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
