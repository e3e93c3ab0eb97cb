"""The folder of a run: what was found in each segment, whole or not at all, and of one run only.

    run.json                       which strain it is: all that decides it
    strain/000012.json             a segment's time, injections and glitches
    <search>/search.json           which search it is: settings and digests of weights
    <search>/000012.npz            its triggers in a segment, and what it cost
    <search>/background.hdf, foreground.hdf, injections.hdf, outline.hdf
                                   the same for the challenge's evaluate.py, after the last segment
    sensitivity.json, .md, .png    the figures

A run that was killed resumes where it stopped, and a longer run of the same strain continues a
shorter one. Searches of the same strain stand side by side, each in a folder of its own.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.files import atomic_path, read_json_object, remove_temporaries, write_json
from runtime.locks import hold
from search.trigger_table import TriggerTable
from simulation.continuous_strain_files import Segment

RUN, SEARCH, STRAIN, LOCK = "run.json", "search.json", "strain", ".lock"
DAMAGED = "remove it and start again, and the segment is searched again"


@dataclass(frozen=True)
class SegmentRecord:
    """What a segment of strain holds.

    Attributes:
        segment: when.
        injections: parameters by bilby's names, in order of time.
        glitches: time, detector, kind and SNR of each that is known.
    """

    segment: Segment
    injections: list[dict[str, Any]]
    glitches: list[dict[str, Any]]


@dataclass(frozen=True)
class KindFindings:
    """What a search found in the background or the foreground of a segment.

    Attributes:
        triggers: of the strain as it is (slide 0) and of its time slides.
        live: (2,) s that were searched of the strain as it is, and of all its slides together.
        seconds: CPU-seconds that it took to "condition" and to "search", and the s "elapsed" while
            it searched.
    """

    triggers: TriggerTable
    live: np.ndarray
    seconds: dict[str, float]


class RunFolder:
    """The folder of a run.

    Args:
        path: the folder.
        identity: of the strain, in JSON's own types.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = json.loads(json.dumps(identity))  # as it is read back: tuples are lists

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this run; make it if it is missing.

        Raises:
            UserError: another run holds it, or it holds other strain or something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path} is a file: name a folder")
        mark = self.path / RUN
        if self.path.is_dir() and not mark.exists():
            others = [each.name for each in self.path.iterdir() if not each.name.startswith(".")]
            if others:
                raise UserError(
                    f"--out {self.path} is not empty and holds no run ({RUN} is missing): name "
                    f"another folder"
                )
        busy = f"{self.path} is in use by another run ({{owner}}): wait for it, or give --out"
        with hold(self.path / LOCK, busy=busy, temporary=True):
            check_identity(mark, self.identity, "strain", "name another folder with --out")
            for folder in (self.path, self.path / STRAIN):
                remove_half_written(folder)
            yield

    # --- strain ------------------------------------------------------------------------------

    def strain_file(self, segment: Segment) -> Path:
        """Return the path of a segment's record."""
        return self.path / STRAIN / f"{segment.number:06d}.json"

    def write_strain(self, record: SegmentRecord) -> None:
        """Write what a segment holds."""
        plain = {
            "start": record.segment.start,
            "duration": record.segment.duration,
            "injections": record.injections,
            "glitches": record.glitches,
        }
        write_json(self.strain_file(record.segment), plain)

    def read_strain(self, segment: Segment) -> SegmentRecord | None:
        """Return what a segment holds, None if it has not been loaded yet.

        Raises:
            UserError: its record is damaged.
        """
        path = self.strain_file(segment)
        if not path.exists():
            return None
        types = {"start": int, "duration": int, "injections": list, "glitches": list}
        plain = read_json_object(path, types, DAMAGED, required=tuple(types))
        if (plain["start"], plain["duration"]) != (segment.start, segment.duration):
            raise UserError(
                f"{path} is of {plain['duration']} s from {plain['start']} and {segment.duration} "
                f"s from {segment.start} are wanted: {DAMAGED}"
            )
        return SegmentRecord(segment, plain["injections"], plain["glitches"])


class SearchFindings:
    """What one search found, in the folder of a run.

    Args:
        run: the folder of the strain.
        key: name of the search's own folder.
        identity: of the search, in JSON's own types.

    Raises:
        UserError: the folder holds another search. The caller holds the run's lock.
    """

    def __init__(self, run: RunFolder, key: str, identity: Mapping[str, Any]) -> None:
        self.folder = run.path / key
        plain = json.loads(json.dumps(identity))
        advice = "name another folder with --out, or move this one away"
        check_identity(self.folder / SEARCH, plain, "search", advice)
        remove_half_written(self.folder)

    def segment_file(self, segment: Segment) -> Path:
        """Return the path of the findings of a segment."""
        return self.folder / f"{segment.number:06d}.npz"

    def has(self, segment: Segment) -> bool:
        """Return whether a segment has been searched."""
        return self.segment_file(segment).is_file()

    def write(self, segment: Segment, findings: Mapping[str, KindFindings]) -> None:
        """Write what was found in a segment, background and foreground, whole or not at all."""
        arrays: dict[str, Any] = {}
        for kind, found in findings.items():
            arrays[f"{kind}/detectors"] = np.array(found.triggers.detectors)
            arrays[f"{kind}/live"] = found.live
            for name, values in found.triggers.arrays().items():
                arrays[f"{kind}/triggers/{name}"] = values
            for name, seconds in found.seconds.items():
                arrays[f"{kind}/seconds/{name}"] = np.array(seconds)
        with atomic_path(self.segment_file(segment)) as temporary:
            np.savez_compressed(temporary, **arrays)

    def read(self, segment: Segment, kinds: Sequence[str]) -> dict[str, KindFindings]:
        """Return what was found in a segment.

        Raises:
            UserError: its file is missing or damaged.
        """
        path = self.segment_file(segment)
        try:
            # np.load takes any other file for a pickle or a single array
            if not zipfile.is_zipfile(path):
                raise ValueError("it is not a .npz file")
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            return {kind: read_kind(arrays, kind, path) for kind in kinds}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{path} is damaged ({error}): {DAMAGED}") from error


def read_kind(arrays: Mapping[str, np.ndarray], kind: str, path: Path) -> KindFindings:
    """Return the findings of one kind out of the arrays of a file."""
    prefixes = {name: f"{kind}/{name}/" for name in ("triggers", "seconds")}
    parts = {
        name: {
            key.removeprefix(prefix): values
            for key, values in arrays.items()
            if key.startswith(prefix)
        }
        for name, prefix in prefixes.items()
    }
    detectors = [str(name) for name in arrays[f"{kind}/detectors"]]
    triggers = TriggerTable.from_arrays(detectors, parts["triggers"], str(path))
    seconds = {name: float(value) for name, value in parts["seconds"].items()}
    return KindFindings(triggers, arrays[f"{kind}/live"], seconds)


def remove_half_written(folder: Path) -> None:
    """Remove what killed runs left half written in a folder; the caller holds the run's lock."""
    # `atomic_path` writes name.npz as .name.0123456789ab.tmp.npz
    parts = [path.name.split(".") for path in folder.glob(".*.tmp*")]
    remove_temporaries(folder, {".".join([part[1], *part[4:]]) for part in parts if len(part) > 3})


def check_identity(mark: Path, identity: Mapping[str, Any], what: str, advice: str) -> None:
    """Check that a folder is of this run, and mark it if it is new.

    Args:
        mark: file with the identity.
        identity: as it is read back from JSON.
        what: it identifies, for messages.
        advice: what to do where it is another one.

    Raises:
        UserError: the folder is of another one, or its mark is damaged.
    """
    if not mark.exists():
        write_json(mark, identity)
        return
    before = read_json_object(mark, what_to_do=advice)
    if before != identity:
        differing = ", ".join(differing_keys(before, identity))
        raise UserError(f"{mark.parent} holds another {what} (other {differing}): {advice}")


def differing_keys(before: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the keys whose values differ, those within objects as 'outer.inner'."""
    found = []
    for key in dict.fromkeys((*before, *now)):
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differing_keys(one, other, f"{above}{key}.")
        elif one != other:
            found.append(above + key)
    return found
