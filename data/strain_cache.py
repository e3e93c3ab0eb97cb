"""A data set's strain as one memory-mapped float32 array in one file.

Reading a shuffled batch from 560,000 small files costs an open, a header and a float64 cast each;
from the cache it costs a copy of 48 KiB each. The file holds no code and no pickle:

    bytes 0-7      magic "G2STRAIN"
    bytes 8-15     format version and length of the JSON header, two little-endian uint32
    bytes 16-      JSON header: dtype, shape, id_width, ids_offset, data_offset, sources
    ids_offset-    ids, `id_width` ASCII bytes each, zero-padded
    data_offset-   rows of (3, 4096) little-endian float32, in the order of the ids; page-aligned

While it is written, its name ends in `.part` and one byte for each row follows the data: 1 if the
row is safely on disk. A writer that was killed is resumed from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import struct
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.sample_files import read_strain
from physics.constants import SAMPLE_SHAPE
from runtime.console import LOGGER, progress
from runtime.errors import UserError
from runtime.files import move_aside
from runtime.locks import hold
from runtime.machine import num_cores
from runtime.worker_pool import run_parallel

MAGIC = b"G2STRAIN"
VERSION = 1
PREFIX = struct.Struct("<8sII")
PAGE = 4096
ROW_BYTES = 4 * SAMPLE_SHAPE[0] * SAMPLE_SHAPE[1]
CHUNK = 64  # rows a task: 6 MiB of files, so that handing tasks out costs nothing beside reading
SYNC_ROWS = 8192  # rows between two fsyncs (384 MiB) ...
SYNC_SECONDS = 5.0  # ... or this long: the most that a kill can lose
# --overwrite, because a finished cache of other samples is there when this is asked for.
WRITE_AGAIN = (
    "write it again with `python prep_data.py --cache --overwrite`, which moves this one aside "
    "(and --root_dir, --export_dir where the data are not in input/)"
)


# --- writing ---------------------------------------------------------------------------------


def write_cache(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    paths: Sequence[str | os.PathLike[str]],
    processes: int | None = None,
    show: bool | None = None,
    overwrite: bool = False,
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
    header = make_header(names, sources_digest(ids, paths))
    start = encode_header(header) + names.tobytes()
    start += bytes(header["data_offset"] - len(start))
    if is_finished(path, start, ids, paths, processes, show, overwrite):
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
            (os.fspath(part), header["data_offset"], rows, [os.fspath(paths[row]) for row in rows])
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
    if cache.ids.tolist() == list(ids) and holds_files(cache, paths, processes, show):
        return True
    if overwrite:
        return False
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
    strain = StrainCache(cache).read(range(first, first + len(paths)))
    return all(
        np.array_equal(row, read_strain(path)) for row, path in zip(strain, paths, strict=True)
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


def make_header(names: np.ndarray, sources: str) -> dict[str, Any]:
    ids_offset = PAGE
    end_of_ids = ids_offset + names.nbytes
    return {
        "dtype": "<f4",
        "shape": [len(names), *SAMPLE_SHAPE],
        "id_width": names.itemsize,
        "ids_offset": ids_offset,
        "data_offset": -(-end_of_ids // PAGE) * PAGE,
        "sources": sources,
    }


def encode_header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return (PREFIX.pack(MAGIC, VERSION, len(text)) + text).ljust(header["ids_offset"], b"\0")


def file_size(header: dict[str, Any]) -> int:
    return header["data_offset"] + header["shape"][0] * ROW_BYTES


def starts_with(path: Path, start: bytes) -> bool:
    """Whether an existing cache has this header and these ids, and its full length."""
    with open(path, "rb") as file:
        found = file.read(len(start))
        rest = os.fstat(file.fileno()).st_size - len(start)
    rows = json.loads(start[PREFIX.size : PAGE].rstrip(b"\0"))["shape"][0]
    return found == start and rest == rows * ROW_BYTES


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


def write_rows(part: str, data_offset: int, rows: list[int], paths: list[str]) -> list[int]:
    """Copy the files of some rows to their places in the part file (runs in a worker)."""
    with open(part, "r+b") as file:
        for row, path in zip(rows, paths, strict=True):
            file.seek(data_offset + row * ROW_BYTES)
            file.write(read_strain(path).astype("<f4").tobytes())
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


# --- reading ---------------------------------------------------------------------------------


class StrainCache:
    """A cache opened for reading: memory-mapped, so that any size opens at once.

    All processes of a machine share the same pages. A pickled cache is its path and header; it
    opens itself again where it is unpickled, and refuses a file that was replaced in between.

    Attributes:
        path: the absolute path of the file.
        header: what the file says of itself.

    Raises:
        UserError: the file is missing, is no cache, has another version, or is cut short.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.header = read_header(self.path)
        with open(self.path, "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = self.header["shape"][0]
        values = np.frombuffer(
            self.memory, "<f4", rows * ROW_BYTES // 4, self.header["data_offset"]
        )
        # (rows * 3 * 4096,) -> (rows, 3, 4096)
        self.data = values.reshape(rows, *SAMPLE_SHAPE)

    def __len__(self) -> int:
        return len(self.data)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "header": self.header}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])
        if self.header != state["header"]:
            raise UserError(f"{self.path} was replaced while it was in use: start again")

    @cached_property
    def ids(self) -> np.ndarray:
        """The ids of the rows, an array of str, read on first use."""
        return self.names.astype(np.str_)

    @property
    def names(self) -> np.ndarray:
        """The ids as the fixed-width bytes that lie in the file."""
        width, offset = self.header["id_width"], self.header["ids_offset"]
        return np.frombuffer(self.memory, f"S{width}", len(self), offset)

    @cached_property
    def order(self) -> np.ndarray:
        return np.argsort(self.names, kind="stable")

    def find(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the row of every id, int64, -1 where the cache does not hold it."""
        if len(self) == 0 or len(ids) == 0:
            return np.full(len(ids), -1)
        # An id that is not ASCII cannot be in the cache: '?' is in no id either.
        wanted = np.char.encode(np.asarray(ids, dtype=np.str_), "ascii", "replace")
        names = self.names
        place = np.searchsorted(names, wanted, sorter=self.order)
        rows = self.order[np.minimum(place, len(self) - 1)]
        return np.where(names[rows] == wanted, rows, -1)

    def rows_of(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the row of every id, int64.

        Raises:
            UserError: the cache lacks some of them, so it is of another data set.
        """
        rows = self.find(ids)
        if (rows < 0).any():
            first = ids[int(np.argmax(rows < 0))]
            raise UserError(
                f"{self.path} lacks {int((rows < 0).sum())} of {len(rows)} ids, the first "
                f"{first!r}: it was made of other data; name the right one, or {WRITE_AGAIN}"
            )
        return rows

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the strain of some rows, (n, 3, 4096) float32, in the order asked for.

        Rows are touched in the order of the file, and all of them are announced to the kernel
        first, so that a disk sees the whole batch at once and not one page fault after another:
        eight times faster where the file is not in memory yet (4 against 30 ms for 64 rows).

        Raises:
            IndexError: a row outside the cache.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"{self.path}: rows must lie in 0 to {len(self) - 1}")
        order = np.argsort(rows, kind="stable")
        if hasattr(self.memory, "madvise"):
            for row in rows[order]:
                at = self.header["data_offset"] + int(row) * ROW_BYTES
                before = at % mmap.PAGESIZE  # 0, but for machines with larger pages than ours
                self.memory.madvise(mmap.MADV_WILLNEED, at - before, before + ROW_BYTES)
        strain = np.empty((len(rows), *SAMPLE_SHAPE), np.float32)
        for place in order:
            strain[place] = self.data[rows[place]]
        return strain


def read_header(path: Path) -> dict[str, Any]:
    """Read and check the header of a finished cache.

    Raises:
        UserError: see `StrainCache`.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(PREFIX.size)
            if len(prefix) < PREFIX.size or not prefix.startswith(MAGIC):
                raise UserError(f"{path} is not a strain cache: {WRITE_AGAIN}")
            _, version, length = PREFIX.unpack(prefix)
            text = file.read(min(length, PAGE))
    except OSError as error:
        again = WRITE_AGAIN if path.exists() else "write it with `python prep_data.py --cache`"
        raise UserError(f"{path} cannot be read ({error.strerror}): {again}") from error
    if version != VERSION:
        raise UserError(f"{path} has format {version}, expected {VERSION}: {WRITE_AGAIN}")
    try:
        header = json.loads(text)
        rows, *shape = header["shape"]
        offsets = [header["ids_offset"], header["data_offset"]]
        sound = (
            header["dtype"] == "<f4"
            and tuple(shape) == SAMPLE_SHAPE
            and all(type(n) is int and n > 0 for n in [rows, header["id_width"], *offsets])
            and offsets[0] + rows * header["id_width"] <= offsets[1]
            and offsets[1] % PAGE == 0
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} has a damaged header ({error}): {WRITE_AGAIN}") from error
    if not sound:
        raise UserError(
            f"{path} holds {header['dtype']} of shape {header['shape']}, expected float32 of "
            f"shape (rows, {SAMPLE_SHAPE[0]}, {SAMPLE_SHAPE[1]}): {WRITE_AGAIN}"
        )
    if size != file_size(header):
        raise UserError(
            f"{path} has {size} bytes, expected {file_size(header)}: it was cut short or written "
            f"to; {WRITE_AGAIN}"
        )
    return header
