"""The folder of a search: never the results of two searches in one, and none lost.

While a search runs, everything it has found lies in the sub-folder `.unfinished`, stretch by
stretch, from where `--resume` continues. At the end the results move up into the folder;
`detection.json` is the last, so that where it is there, all of them are, and of the same search. A
search that was killed meanwhile is finished by the next one, whichever that is.

Which search it is is decided by content: digests of the weights and of the strain, and the
settings. Names of files and folders play no part.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path, name_aside, read_json_object, write_json
from runtime.locks import hold

RECORD = "detection.json"
RESULTS = (  # moved up in this order
    "triggers.hdf5",
    "candidates.csv",
    "excluded.csv",
    "detection.png",
    "detection.html",
    RECORD,
)
# Results of some searches only; they move up before all others.
OPTIONAL_RESULTS = ("injections.csv", "sensitivity.csv")
UNFINISHED, IDENTITY = ".unfinished", "identity.json"
LOCK = ".lock"


class StretchStore:
    """What a search has found in each stretch, on disk or in memory.

    Args:
        folder: where to keep it; None keeps it in memory.
        also: another folder to look into; nothing is written there. A part of a search does not
            search again what the whole search has.
    """

    def __init__(self, folder: Path | None = None, also: Path | None = None) -> None:
        self.folder, self.also = folder, also
        self.held: dict[str, dict[str, np.ndarray]] = {}

    def path(self, name: str) -> Path:
        """Return the file of a name; where nothing is on disk, what messages call it."""
        own = (self.folder or Path("memory")) / f"{name}.npz"
        if self.also is not None and not own.is_file():
            other = self.also / own.name
            return other if other.is_file() else own
        return own

    def holds(self, name: str) -> bool:
        """Return whether arrays have been saved under a name."""
        return name in self.held if self.folder is None else self.path(name).is_file()

    def save(self, name: str, **arrays: np.ndarray) -> None:
        """Write arrays under a name, whole or not at all."""
        if self.folder is None:
            self.held[name] = arrays
            return
        with atomic_path(self.folder / f"{name}.npz") as temporary:
            np.savez(temporary, **arrays)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a name, or None if they have not been saved.

        Raises:
            UserError: their file is damaged.
        """
        if not self.holds(name):
            return None
        if self.folder is None:
            return self.held[name]
        path = self.path(name)
        try:
            # np.load takes any other file for a pickle or a single array
            if not zipfile.is_zipfile(path):
                raise ValueError("it is not a .npz file")
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(
                f"{path} is damaged ({error}): remove it and start again with --resume, which "
                f"searches that stretch again"
            ) from error


class SearchFolder:
    """The folder that a search writes to.

    Args:
        path: the folder.
        identity: of the search, in JSON types: all that decides its results.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = Path(os.path.abspath(path))  # without '.' and '..', so that it has a name
        self.identity = json.loads(json.dumps(identity))  # as it is read back: tuples are lists
        self.unfinished = self.path / UNFINISHED

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this search, and finish one that was killed while results moved up.

        Raises:
            UserError: another search is writing to it, or it is not a folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path} is not a folder: name another file or folder")
        # Inside the folder, because this user may not be allowed to write beside it.
        busy = f"{self.path} is in use by another search ({{owner}}): wait for it, or give --out"
        with hold(self.path / LOCK, busy=busy, temporary=True):
            self.complete_interrupted_finish()
            yield

    def finished(self) -> bool:
        """Return whether the results of this very search are there."""
        record = read_json_object_or_none(self.path / RECORD)
        if record is None or record.get("identity") != self.identity:
            return False
        return all((self.path / name).is_file() for name in result_names(record))

    def complete_interrupted_finish(self) -> None:
        """Finish a search, this one or another, that was killed while its results moved up.

        Its detection.json, the last that it writes and the last that moves, is still in
        `unfinished`. A result that is in both folders is of two searches and is left alone.
        """
        record = read_json_object_or_none(self.unfinished / RECORD)
        if record is None:
            return
        names = result_names(record)
        above = [name for name in names if os.path.lexists(self.path / name)]
        below = [name for name in names if (self.unfinished / name).is_file()]
        if sorted(above + below) == sorted(names):
            self.finish(below)
            LOGGER.info(f"{self.path}: completed a search that was killed as its results moved up")

    def begin(self, resume: bool, overwrite: bool) -> StretchStore:
        """Make the folder ready and return the store of what was found before.

        Args:
            resume: continue this search where it was interrupted.
            overwrite: move the results of another search aside.

        Raises:
            UserError: results of another search are there and `overwrite` is False; or `resume`
                is asked for and the unfinished search is another one.
        """
        foreign = self.foreign_results()
        if not overwrite:
            self.refuse_foreign(foreign)
        begun, before = self.unfinished / IDENTITY, self.begun_identity()
        if resume and not overwrite and before != self.identity and begun.exists():
            difference = "its identity.json is damaged"
            if before is not None:
                difference = format_differences(before, self.identity)
            raise UserError(
                f"the unfinished search in {self.path} is another one ({difference}): resume it "
                f"with its own settings, or leave --resume out to start this one"
            )
        if foreign:
            self.move_aside(foreign)
        if before != self.identity or not resume:
            # What took hours is kept: there, the same search can still be resumed.
            if any(self.unfinished.glob("*.npz")):
                self.move_aside([UNFINISHED])
            shutil.rmtree(self.unfinished, ignore_errors=True)
            write_json(begun, self.identity)
        return StretchStore(self.unfinished)

    def begun_identity(self) -> dict[str, Any] | None:
        """Return which search is unfinished here, None if there is none or its mark is damaged."""
        return read_json_object_or_none(self.unfinished / IDENTITY)

    def foreign_results(self) -> list[str]:
        """Return the results of another search that are there."""
        every = (*OPTIONAL_RESULTS, *RESULTS)
        there = [name for name in every if os.path.lexists(self.path / name)]
        # Results without detection.json beside this search, unfinished, are its own: it was
        # interrupted while they moved up.
        return there if RECORD in there or self.begun_identity() != self.identity else []

    def refuse_foreign(self, foreign: Sequence[str]) -> None:
        """Refuse the results of another search.

        Raises:
            UserError: there are some.
        """
        if foreign:
            raise UserError(
                f"{self.path} holds another search{self.explain_difference()}: add --overwrite to "
                f"move it aside, or name another folder with --out"
            )

    def move_aside(self, names: Sequence[str]) -> None:
        """Move files or folders into a new folder beside this one, and say so.

        Raises:
            UserError: nothing can be written beside this folder.
        """
        aside = name_aside(self.path)
        try:
            aside.mkdir()
        except OSError as error:
            raise UserError(
                f"the search in {self.path} cannot be moved aside to {aside} ({error.strerror}): "
                f"name another folder with --out"
            ) from error
        for name in names:
            os.rename(self.path / name, aside / name)
        LOGGER.info(f"{self.path}: {', '.join(names)} moved aside to {aside}")

    def explain_difference(self) -> str:
        """Return in brackets how the finished search that is there differs from this one."""
        record = self.path / RECORD
        if not record.is_file():
            return ", whose detection.json is missing"
        found = read_json_object_or_none(record)
        if found is None:
            return ", whose detection.json is damaged"
        before = found.get("identity")
        if not isinstance(before, dict):
            return ", of an earlier version"
        return f" ({format_differences(before, self.identity) or 'some of its files are missing'})"

    def finish(self, names: Sequence[str] | None = None) -> None:
        """Move the results, all written to `unfinished`, up into the folder.

        Args:
            names: of those that have not moved yet, detection.json last; None for all that
                detection.json names.

        Raises:
            UserError: detection.json is damaged.
        """
        if names is None:
            names = result_names(read_json_object(self.unfinished / RECORD))
        for name in names:
            os.replace(self.unfinished / name, self.path / name)
        shutil.rmtree(self.unfinished)


def result_names(record: Mapping[str, Any]) -> list[str]:
    """Return the files of a search in the order in which they move up, detection.json last.

    Args:
        record: the content of its detection.json.
    """
    further = record.get("further_files")
    further = further if isinstance(further, list) else []
    return [*(name for name in OPTIONAL_RESULTS if name in further), *RESULTS]


def read_json_object_or_none(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None where it is missing or damaged."""
    try:
        return read_json_object(path)
    except UserError:
        return None


def format_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return 'other settings and strain' for the keys whose values differ."""
    keys = [key for key in now if before.get(key) != now[key]]
    return f"other {' and '.join(keys)}" if keys else ""
