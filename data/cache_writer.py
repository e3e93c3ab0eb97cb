"""The writer of strain caches: many processes read, kills lose little, finished caches are kept.

strain_cache.py describes the file. While it is written, its name ends in `.part` and one byte for
each row follows the data: 1 if the row is safely on disk. A writer that was killed is resumed from
there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.sample_files import read_strain
from data.strain_cache import (
    MAGIC,
    PAGE,
    PREFIX,
    StrainCache,
    encode_header,
    file_size,
    make_header,
    row_bytes,
)
from physics.observation import COMPETITION, Sampling
from runtime.console import LOGGER, progress
from runtime.errors import UserError
from runtime.files import move_aside
from runtime.locks import hold
from runtime.machine import num_cores
from runtime.worker_pool import run_parallel

CHUNK = 64  # rows a task: 6 MiB of files, so that handing tasks out costs nothing beside reading
SYNC_ROWS = 8192  # rows between two fsyncs (384 MiB) ...
SYNC_SECONDS = 5.0  # ... or this long: the most that a kill can lose


def write_cache(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    paths: Sequence[str | os.PathLike[str]],
    processes: int | None = None,
    show: bool | None = None,
    overwrite: bool = False,
    sampling: Sampling = COMPETITION.sampling,
) -> int:
    """Read every file of `paths` and write them as one cache; return how many were read.

    A finished cache of the same samples is left alone, and 0 is returned. An unfinished one (a
    `.part` file) of the same samples is continued; any other is started again. Memory does not
    grow with the number of rows, but for the ids and paths themselves.

    Args:
        path: the cache to write, e.g. `input/train_cache.f32`.
        ids: one id a row: unique, ASCII, not empty.
        paths: the `.npy` file of each id.
        processes: number of reading processes; None takes every core.
        show: show a progress bar; None shows it if stderr is a terminal.
        overwrite: move a finished cache of other samples, or a file that is no cache, aside when
            the new one is finished.
        sampling: what the files are samples of.

    Raises:
        UserError: a file is missing or bad, ids are doubled, the disk is too small, `path` is a
            folder or, without `overwrite`, a cache of other samples or a file of another kind, or
            another process is writing the same cache.
    """
    path = Path(path)
    processes = num_cores() if processes is None else processes
    names = encode_ids(ids)
    if len(paths) != len(names):
        raise UserError(f"{path}: {len(names)} ids but {len(paths)} files were given")
    header = make_header(names, sources_digest(ids, paths), sampling)
    start = encode_header(header) + names.tobytes()
    start += bytes(header["data_offset"] - len(start))
    if is_finished(path, start, ids, paths, sampling, processes, show, overwrite):
        return 0
    part = path.with_name(path.name + ".part")
    busy = f"{path} is being written by another process ({{owner}}): wait for it"
    with contextlib.ExitStack() as stack:
        # The lock file is never renamed. A lock on the part file itself would let a second writer
        # open it just before the first one renames it, and then truncate the finished cache.
        stack.enter_context(hold(lock_path(path), busy=busy))
        if path.exists() and starts_with(path, start):  # another process has just finished it
            return 0
        file = stack.enter_context(open(part, "r+b" if part.exists() else "w+b"))
        done = begin_part(file, part, header, start)
        todo = np.flatnonzero(done == 0)
        tasks = (
            (part, header["data_offset"], sampling, rows, [os.fspath(paths[row]) for row in rows])
            for rows in (todo[at : at + CHUNK].tolist() for at in range(0, len(todo), CHUNK))
        )
        processes = max(1, min(processes, len(todo) // CHUNK))
        with contextlib.closing(run_parallel(write_rows, tasks, processes)) as written:
            record_rows(file, done, written, file_size(header), path.name, show)
        file.truncate(file_size(header))  # the map of done rows goes
        os.fsync(file.fileno())
        if path.exists():
            LOGGER.warning("%s: moved aside to %s", path, move_aside(path).name)
        os.replace(part, path)
    sync_folder(path.parent)
    return len(todo)


def is_finished(
    path: Path,
    start: bytes,
    ids: Sequence[str],
    paths: Sequence[str | os.PathLike[str]],
    sampling: Sampling,
    processes: int,
    show: bool | None,
    overwrite: bool,
) -> bool:
    """Return whether a finished cache of these samples is there.

    Equal ids, file sizes and times of change are enough to say so. Where only the times differ,
    as after a copy, the strain itself is compared.

    Raises:
        UserError: a cache of other samples is there, or a file that is not a cache, and
            `overwrite` is False; or a folder.
    """
    if not path.exists():
        return False
    if path.is_dir():
        raise UserError(f"{path} is a folder: move it away, or choose another --export_dir")
    if starts_with(path, start):
        return True
    if not is_cache(path):
        if overwrite:
            return False
        raise UserError(
            f"{path} exists and is not a strain cache: add --overwrite to move it aside, or choose "
            f"another folder with --export_dir"
        )
    try:
        cache = StrainCache(path)
    except UserError:  # damaged or of another format: nothing finished
        return False
    same = cache.sampling == sampling and cache.ids.tolist() == list(ids)
    if same and holds_files(cache, paths, processes, show):
        return True
    if overwrite:
        return False
    if cache.sampling != sampling:
        raise UserError(
            f"{path} is a finished cache of {cache.sampling} and one of {sampling} is to be "
            f"written: add --overwrite to move it aside, or choose another folder with --export_dir"
        )
    raise UserError(
        f"{path} is a finished cache of other samples, or its files have changed: add --overwrite "
        f"to move it aside, or choose another folder with --export_dir"
    )


def holds_files(
    cache: StrainCache, paths: Sequence[str | os.PathLike[str]], processes: int, show: bool | None
) -> bool:
    """Return whether the rows of a cache are the strain of these files."""
    tasks = (
        (os.fspath(cache.path), first, [os.fspath(path) for path in paths[first : first + CHUNK]])
        for first in range(0, len(paths), CHUNK)
    )
    processes = max(1, min(processes, len(paths) // CHUNK))
    with (
        progress(total=len(paths), desc=f"compare {cache.path.name}", show=show) as bar,
        contextlib.closing(run_parallel(rows_equal, tasks, processes)) as results,
    ):
        for equal in results:
            if not equal:
                return False
            bar.update(CHUNK)
    return True


def rows_equal(cache: str, first: int, paths: list[str]) -> bool:
    """Return whether rows of a cache equal their files (runs in a worker)."""
    opened = StrainCache(cache)
    strain = opened.read(range(first, first + len(paths)))
    return all(
        np.array_equal(row, read_strain(path, opened.sampling))
        for row, path in zip(strain, paths, strict=True)
    )


def encode_ids(ids: Sequence[str]) -> np.ndarray:
    """Return ids as an array of fixed-width bytes; refuse what could not be found again."""
    if len(ids) == 0:
        raise UserError("a cache of no samples was asked for: check the index it is made from")
    try:
        names = np.char.encode(np.asarray(ids, dtype=np.str_), "ascii")
    except UnicodeEncodeError as error:
        raise UserError(f"the id {error.object!r} is not plain ASCII: rename the sample") from error
    values, counts = np.unique(names, return_counts=True)
    if counts.max() > 1 or values[0] == b"":
        wrong = values[counts.argmax()].decode() if counts.max() > 1 else ""
        raise UserError(f"the id {wrong!r} is empty or doubled: every sample needs its own id")
    return names


def sources_digest(ids: Sequence[str], paths: Sequence[str | os.PathLike[str]]) -> str:
    """Return a digest of every file's id, size and time of change, as `make` would judge it."""
    digest = hashlib.blake2b(digest_size=16)
    for name, path in zip(ids, paths, strict=True):
        try:
            info = os.stat(path)
        except OSError as error:
            raise UserError(
                f"{path} (id {name}) cannot be read ({error.strerror}): restore it, or find all "
                "such files with `python prep_data.py --check`"
            ) from error
        digest.update(f"{name} {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def starts_with(path: Path, start: bytes) -> bool:
    """Whether an existing cache has this header and these ids, and its full length."""
    with open(path, "rb") as file:
        found = file.read(len(start))
        rest = os.fstat(file.fileno()).st_size - len(start)
    header = json.loads(start[PREFIX.size : PAGE].rstrip(b"\0"))
    return found == start and rest == header["shape"][0] * row_bytes(header)


def is_cache(path: Path) -> bool:
    """Return whether a file begins as caches do; it may be cut short or damaged."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def lock_path(path: Path) -> Path:
    """Return the file whose lock the writer of a cache holds."""
    return path.with_name(f".{path.name}.lock")


def begin_part(file: BinaryIO, part: Path, header: dict[str, Any], start: bytes) -> np.ndarray:
    """Return the map of done rows of a part file; begin the file anew where it does not fit."""
    rows = header["shape"][0]
    size = file_size(header)
    found = os.fstat(file.fileno()).st_size
    if found in (size, size + rows) and file.read(len(start)) == start:
        if found == size:  # a writer that had cut off its map was killed before the renaming
            return np.ones(rows, np.uint8)
        file.seek(size)
        return np.frombuffer(file.read(rows), np.uint8).copy()
    file.truncate(0)
    free = shutil.disk_usage(part.parent).free
    if free < size + rows:
        raise UserError(
            f"{part.parent} has {free / 2**30:.1f} GiB free and the cache needs "
            f"{size / 2**30:.1f} GiB: free some space or choose another folder"
        )
    file.truncate(size + rows)
    file.seek(0)
    file.write(start)
    file.flush()
    return np.zeros(rows, np.uint8)


def write_rows(
    part: Path, data_offset: int, sampling: Sampling, rows: list[int], paths: list[str]
) -> list[int]:
    """Copy the files of some rows to their places in the part file (runs in a worker)."""
    with open(part, "r+b") as file:
        for row, path in zip(rows, paths, strict=True):
            content = read_strain(path, sampling).astype("<f4").tobytes()
            file.seek(data_offset + row * len(content))
            file.write(content)
    return rows


def record_rows(
    file: BinaryIO,
    done: np.ndarray,
    written: Iterable[list[int]],
    map_offset: int,
    desc: str,
    show: bool | None,
) -> None:
    """Mark written rows as done, always after their data has reached the disk."""
    pending: list[int] = []
    synced = time.monotonic()

    def flush() -> None:
        os.fsync(file.fileno())
        done[pending] = 1
        file.seek(map_offset)
        file.write(done.tobytes())
        file.flush()
        pending.clear()

    with progress(total=len(done), desc=desc, unit="file", show=show) as bar:
        bar.update(int(done.sum()))
        try:
            for rows in written:
                pending += rows
                bar.update(len(rows))
                if len(pending) >= SYNC_ROWS or time.monotonic() - synced > SYNC_SECONDS:
                    flush()
                    synced = time.monotonic()
        finally:
            flush()  # a bad file or Ctrl-C loses nothing that was written


def sync_folder(folder: Path) -> None:
    """Flush a rename to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
