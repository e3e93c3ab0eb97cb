"""A data set's strain as one memory-mapped float32 array in one file.

Reading a shuffled batch from 560,000 small files costs an open, a header and a float64 cast each;
from the cache it costs a copy of 48 KiB each. The file holds no code and no pickle:

    bytes 0-7      magic "G2STRAIN"
    bytes 8-15     format version and length of the JSON header, two little-endian uint32
    bytes 16-      JSON header: dtype, shape, id_width, ids_offset, data_offset, sources, and
                   observation: detectors, sample_rate and window, where they are not those of
                   the competition
    ids_offset-    ids, `id_width` ASCII bytes each, zero-padded
    data_offset-   rows of (detector, time) little-endian float32, in the order of the ids;
                   page-aligned

cache_writer.py writes it.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.table_sampling import check_sampling
from physics.observation import COMPETITION, Sampling
from runtime.errors import UserError

MAGIC = b"G2STRAIN"
VERSION = 1
PREFIX = struct.Struct("<8sII")
PAGE = 4096
# --overwrite, because a finished cache of other samples is there when this is asked for.
WRITE_AGAIN = (
    "write it again with `python prep_data.py --cache --overwrite`, which moves this one aside "
    "(and --root_dir, --export_dir where the data are not in input/)"
)
NAME_ANOTHER = (
    "name the cache of its own samples with --set train_cache=… test_cache=…, or write one with "
    "`python prep_data.py --cache --config NAME --export_dir DIR`"
)


def make_header(
    names: np.ndarray, sources: str, sampling: Sampling = COMPETITION.sampling
) -> dict[str, Any]:
    """Return the header of a cache.

    Args:
        names: the ids, fixed-width bytes.
        sources: a digest of the files.
        sampling: what they are samples of.
    """
    ids_offset = PAGE
    end_of_ids = ids_offset + names.nbytes
    header = {
        "dtype": "<f4",
        "shape": [len(names), *sampling.shape],
        "id_width": names.itemsize,
        "ids_offset": ids_offset,
        "data_offset": -(-end_of_ids // PAGE) * PAGE,
        "sources": sources,
    }
    # Caches that are older than this key are the competition's, which are still written without.
    if sampling != COMPETITION.sampling:
        header["observation"] = sampling.to_plain()
    return header


def encode_header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return (PREFIX.pack(MAGIC, VERSION, len(text)) + text).ljust(header["ids_offset"], b"\0")


def row_bytes(header: dict[str, Any]) -> int:
    """Return the bytes of a sample."""
    _, detectors, samples = header["shape"]
    return 4 * detectors * samples


def file_size(header: dict[str, Any]) -> int:
    return header["data_offset"] + header["shape"][0] * row_bytes(header)


def sampling_of(header: dict[str, Any]) -> Sampling:
    """Return what the rows of a cache are samples of.

    Raises:
        UserError: the header's entry is damaged.
    """
    plain = header.get("observation")
    return COMPETITION.sampling if plain is None else Sampling.from_plain(plain)


class StrainCache:
    """A cache opened for reading: memory-mapped, so that any size opens at once.

    All processes of a machine share the same pages. A pickled cache is its path and header; it
    opens itself again where it is unpickled, and refuses a file that was replaced in between.

    Args:
        path: the file.
        expected: what its rows must be samples of; None takes any.

    Attributes:
        path: the absolute path of the file.
        header: the JSON header of the file.
        sampling: what its rows are samples of.

    Raises:
        UserError: the file is missing, is no cache, has another version, is cut short, or holds
            samples of another observation.
    """

    def __init__(self, path: str | os.PathLike[str], expected: Sampling | None = None) -> None:
        self.path = Path(path).absolute()
        self.header = read_header(self.path)
        self.sampling = sampling_of(self.header)
        if expected is not None:
            check_sampling(self.path, self.sampling, expected, NAME_ANOTHER)
        with open(self.path, "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = self.header["shape"][0]
        self.row_bytes = row_bytes(self.header)
        values = np.frombuffer(
            self.memory, "<f4", rows * self.row_bytes // 4, self.header["data_offset"]
        )
        # (rows * detector * time,) -> (rows, detector, time)
        self.data = values.reshape(rows, *self.sampling.shape)

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

    @cached_property
    def sorted_names(self) -> np.ndarray:
        return self.names[self.order]

    def find(self, ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the row of every id, int64, -1 where the cache does not hold it."""
        if len(self) == 0 or len(ids) == 0:
            return np.full(len(ids), -1)
        wanted, names = encode_ascii(np.asarray(ids, dtype=np.str_)), self.names
        if np.array_equal(wanted, names):  # of a whole table, whose order a cache keeps
            return np.arange(len(self))
        # Looked for in their own order, of which each finds its place near that of the last: a
        # third of the time, for half a million.
        turn = np.argsort(wanted, kind="stable")
        place = np.empty(len(wanted), np.int64)
        place[turn] = np.searchsorted(self.sorted_names, wanted[turn])
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
        """Return the strain of some rows, (n, detector, time) float32, in the order asked for.

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
                at = self.header["data_offset"] + int(row) * self.row_bytes
                before = at % mmap.PAGESIZE  # 0, but for machines with larger pages than ours
                self.memory.madvise(mmap.MADV_WILLNEED, at - before, before + self.row_bytes)
        strain = np.empty((len(rows), *self.sampling.shape), np.float32)
        for place in order:
            strain[place] = self.data[rows[place]]
        return strain


def encode_ascii(ids: np.ndarray) -> np.ndarray:
    """Return ids (n,) as fixed-width bytes; what is not ASCII becomes '?', which is in no id."""
    codes = character_codes(ids)
    if codes is None:
        return np.char.encode(ids, "ascii", "replace")
    return as_bytes(np.where(codes < 128, codes, ord("?")))


def encode_utf8(ids: np.ndarray) -> np.ndarray:
    """Return ids (n,) as fixed-width bytes in UTF-8."""
    codes = character_codes(ids)
    if codes is None or (codes >= 128).any():
        return np.char.encode(ids, "utf-8")
    return as_bytes(codes)


def character_codes(ids: np.ndarray) -> np.ndarray | None:
    """Return the characters of text (n,) as numbers, (n, width) uint32; None where there are none.

    numpy's own `char.encode` calls Python for each: a quarter of a second for half a million.
    """
    width = ids.dtype.itemsize // 4
    if width == 0 or not len(ids) or not ids.dtype.isnative:
        return None
    # (n,) of `width` characters of four bytes -> (n, width)
    return np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), width)


def as_bytes(codes: np.ndarray) -> np.ndarray:
    """Return characters (n, width) below 256 as fixed-width bytes (n,)."""
    n, width = codes.shape
    return codes.astype(np.uint8).view(f"S{width}").reshape(n)  # (n, width) -> (n,)


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
        expected = sampling_of(header).shape
        offsets = [header["ids_offset"], header["data_offset"]]
        sound = (
            header["dtype"] == "<f4"
            and tuple(shape) == expected
            and all(type(n) is int and n > 0 for n in [rows, header["id_width"], *offsets])
            and offsets[0] + rows * header["id_width"] <= offsets[1]
            and offsets[1] % PAGE == 0
        )
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"{path} has a damaged header ({error}): {WRITE_AGAIN}") from error
    if not sound:
        raise UserError(
            f"{path} holds {header['dtype']} of shape {header['shape']}, expected float32 of "
            f"shape (rows, {expected[0]}, {expected[1]}): {WRITE_AGAIN}"
        )
    if size != file_size(header):
        raise UserError(
            f"{path} has {size} bytes, expected {file_size(header)}: it was cut short or written "
            f"to; {WRITE_AGAIN}"
        )
    return header
