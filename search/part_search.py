"""A part of detect.py's search: its folder, and what the whole search takes over from it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.locks import hold
from search.folder import LOCK, SearchFolder, StretchStore
from search.parts import BUSY, Part, part_folders, write_finished

LEAST = "_least.npz"  # ends the file of the score that a search chose for itself


@contextlib.contextmanager
def open_part(whole: SearchFolder, part: Part, resume: bool) -> Iterator[StretchStore]:
    """Hold the folder of a part for this process, which searches it; mark it as finished after.

    Args:
        whole: the folder of the search. It is only read: other parts are searched meanwhile.
        part: of it.
        resume: continue the part where it was interrupted.

    Yields:
        What was found before.

    Raises:
        UserError: another process searches this part, or there is another search in a folder.
    """
    whole.refuse_foreign(whole.foreign_results())
    own = SearchFolder(part.folder(whole.path), whole.identity)
    with hold(own.path / LOCK, busy=BUSY.format(folder=own.path), temporary=True):
        store = own.begin(resume, overwrite=False)
        if whole.begun_identity() == whole.identity:
            store.also = whole.unfinished
        yield store
        write_finished(own.path, whole.identity)


def adopt_parts(whole: SearchFolder, store: StretchStore) -> None:
    """Move what the parts of a search have found into its own folder.

    Args:
        whole: the folder of the search, which this process holds.
        store: of it.

    Raises:
        UserError: another process searches a part, or a file is damaged.
    """
    adopted = 0
    for path in part_folders(whole.path):
        own = SearchFolder(path, whole.identity)
        if own.begun_identity() != whole.identity:
            LOGGER.warning(f"{path} is a part of another search and is left alone")
            continue
        with hold(path / LOCK, busy=BUSY.format(folder=path), temporary=True):
            for file in sorted(own.unfinished.glob("*.npz")):
                if file.name.startswith("."):
                    continue  # left half written by a process that was killed
                if file.name.endswith(LEAST):
                    adopt_least(store, StretchStore(own.unfinished), file)
                elif not store.holds(file.stem):
                    os.replace(file, store.path(file.stem))
                    adopted += 1
    if adopted:
        LOGGER.info(f"{adopted} stretches were searched in parts")


def adopt_least(store: StretchStore, own: StretchStore, file: Path) -> None:
    """Take over the lowest score of a part's triggers, if it is the highest of all parts.

    On machines of one kind all parts choose the same. Above the highest, the triggers of all parts
    are complete.
    """
    before, found = store.load(file.stem), own.load(file.stem)
    for arrays in (before, found):
        if arrays is not None and "least" not in arrays:
            raise UserError(f"{file} is damaged: remove it and start again with --resume")
    if before is None or float(found["least"]) > float(before["least"]):
        store.save(file.stem, least=np.array(float(found["least"])))
