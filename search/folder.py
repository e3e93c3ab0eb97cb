"""The folder of a search: never the results of two searches in one, and none lost.

While a search runs, everything it has found lies in the sub-folder `.unfinished`, segment by
segment, from where `--resume` continues. At the end the results move up into the folder;
`detection.json` is the last, so that where it is there, all of them are, and of the same search.

Which search it is is decided by content: digests of the weights and of the strain, and the
settings. Names of files and folders play no part.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.files import atomic_path, name_aside, read_json, write_json
from runtime.locks import hold

RECORD = "detection.json"
RESULTS = ("scores.csv", "candidates.csv", "detection.png", RECORD)  # moved up in this order
UNFINISHED = ".unfinished"


class SegmentStore:
    """What a search has found in each segment, on disk.

    Args:
        folder: where to keep it; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def save(self, name: str, **arrays: np.ndarray) -> None:
        """Write arrays under a name, whole or not at all."""
        if self.folder is not None:
            with atomic_path(self.folder / f"{name}.npz") as temporary:
                np.savez(temporary, **arrays)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a name, or None if they have not been saved."""
        if self.folder is None or not (self.folder / f"{name}.npz").is_file():
            return None
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)


class SearchFolder:
    """The folder that a search writes to.

    Args:
        path: the folder.
        identity: of the search, in JSON types: all that decides its results.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path.absolute()
        self.identity = json.loads(json.dumps(identity))  # as it is read back: tuples are lists
        self.unfinished = self.path / UNFINISHED

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this search.

        Raises:
            UserError: another search is writing to it, or it is not a folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path} is not a folder: name another file or folder")
        # Beside the folder: a lock file inside would be in the way of a folder that is moved.
        lock = self.path.with_name(f".{self.path.name}.lock")
        busy = f"{self.path} is in use by another search ({{owner}}): wait for it, or give --out"
        with hold(lock, busy=busy):
            yield

    def finished(self) -> bool:
        """Return whether the results of this very search are there."""
        record = self.path / RECORD
        if not all((self.path / name).is_file() for name in RESULTS):
            return False
        return read_json(record).get("identity") == self.identity

    def begin(self, resume: bool, overwrite: bool) -> SegmentStore:
        """Make the folder ready and return the store of what was found before.

        Args:
            resume: continue this search where it was interrupted.
            overwrite: move the results of another search aside.

        Raises:
            UserError: results of another search are there and `overwrite` is False; or `resume`
                is asked for and the unfinished search is another one.
        """
        there = [name for name in RESULTS if os.path.lexists(self.path / name)]
        begun = self.unfinished / "identity.json"
        before = read_json(begun) if begun.is_file() else None
        # Results without detection.json beside an unfinished search are its own: it was
        # interrupted while they moved up.
        foreign = there if RECORD in there or before is None else []
        if foreign and not overwrite:
            difference = self.explain_difference()
            raise UserError(
                f"{self.path} holds another search{difference}: add --overwrite to move it aside, "
                f"or name another folder with --out"
            )
        if before is not None and before != self.identity:
            if resume and not overwrite:
                raise UserError(
                    f"the unfinished search in {self.path} is another one "
                    f"({format_differences(before, self.identity)}): resume it with its own "
                    f"settings, or leave --resume out to start this one"
                )
            before = None
        if foreign:
            aside = name_aside(self.path)
            aside.mkdir()
            for name in foreign:
                os.rename(self.path / name, aside / name)
        if before is None or not resume:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            write_json(begun, self.identity)
        return SegmentStore(self.unfinished)

    def explain_difference(self) -> str:
        """Return in brackets how the finished search that is there differs from this one."""
        record = self.path / RECORD
        if not record.is_file():
            return ", whose detection.json is missing"
        before = read_json(record).get("identity")
        if not isinstance(before, dict):
            return ", of an earlier version"
        return f" ({format_differences(before, self.identity) or 'some of its files are missing'})"

    def finish(self) -> None:
        """Move the results, all written to `unfinished`, up into the folder."""
        for name in RESULTS:
            os.replace(self.unfinished / name, self.path / name)
        shutil.rmtree(self.unfinished)


def format_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return 'other settings and strain' for the keys whose values differ."""
    keys = [key for key in now if before.get(key) != now[key]]
    return f"other {' and '.join(keys)}" if keys else ""
