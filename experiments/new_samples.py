"""Samples that predict.py scores: of a table, a folder, files, one array, or a cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from data.sample_files import list_sample_files, read_strain, read_table
from data.strain_cache import StrainCache
from experiments.run_identity import rows_to_compare, strain_digest, strain_digests
from physics.observation import Sampling
from runtime.errors import UserError


class NewSamples(ABC):
    """Samples by number, without targets.

    Attributes:
        ids: (n,) text, unique.
        what: how messages name them.
    """

    ids: np.ndarray
    what: str

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first to last - 1, (last - first, detector, time) float32.

        Raises:
            UserError: one is missing or damaged.
        """

    @abstractmethod
    def content_digests(self) -> dict[str, str]:
        """Return digests of the strain of some samples, by id; see `strain_digests`."""

    @property
    def table(self) -> pd.DataFrame | None:
        """Ids and paths, by which a run's own samples are known again; None without files."""
        return None


class SampleFiles(NewSamples):
    """One `.npy` file a sample.

    Args:
        table: id and path.
        sampling: what the files are samples of.
        what: how messages name them.
    """

    def __init__(self, table: pd.DataFrame, sampling: Sampling, what: str) -> None:
        self.files, self.sampling, self.what = table, sampling, what
        self.ids = table["id"].to_numpy(str)

    @property
    def table(self) -> pd.DataFrame:
        return self.files

    def read(self, first: int, last: int) -> np.ndarray:
        paths = self.files["path"].iloc[first:last]
        return np.stack([read_strain(path, self.sampling) for path in paths])

    def content_digests(self) -> dict[str, str]:
        return strain_digests(self.files, None, sampling=self.sampling)


class SampleArray(NewSamples):
    """One `.npy` array (n, detector, time), memory-mapped; ids are row numbers.

    Args:
        path: of the array.
        sampling: what its rows are samples of.

    Raises:
        UserError: the file is damaged, or of another shape or type.
    """

    def __init__(self, path: Path, sampling: Sampling) -> None:
        self.what = str(path)
        try:
            self.values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} is no array of strain ({error}): restore it") from error
        shape = getattr(self.values, "shape", ())
        if len(shape) != 3 or shape[1:] != sampling.shape or self.values.dtype.kind != "f":
            raise UserError(
                f"{path} has the shape {shape} and type {getattr(self.values, 'dtype', '?')}: "
                f"expected float (n, {sampling.shape[0]}, {sampling.shape[1]}), {sampling}"
            )
        self.ids = np.arange(shape[0]).astype(str)

    def read(self, first: int, last: int) -> np.ndarray:
        return np.asarray(self.values[first:last], np.float32)

    def content_digests(self) -> dict[str, str]:
        rows = rows_to_compare(len(self))
        return {str(row): strain_digest(self.read(row, row + 1)[0]) for row in rows}


class CachedSamples(NewSamples):
    """A cache of prep_data.py.

    Args:
        path: of the cache.
        sampling: what its rows must be samples of.

    Raises:
        UserError: it is damaged, or of another observation.
    """

    def __init__(self, path: Path, sampling: Sampling) -> None:
        self.what, self.cache = str(path), StrainCache(path, sampling)

    @cached_property
    def ids(self) -> np.ndarray:
        return self.cache.ids

    def read(self, first: int, last: int) -> np.ndarray:
        return self.cache.read(np.arange(first, last))

    def content_digests(self) -> dict[str, str]:
        table = pd.DataFrame({"id": self.ids})
        return strain_digests(table, str(self.cache.path))


def open_samples(words: Sequence[str], sampling: Sampling) -> NewSamples:
    """Return the samples that `--data` names.

    Args:
        words: a table with the columns id and path, relative to its folder; a folder, of which all
            `.npy` files below are taken; such files; one `.npy` array (n, detector, time); or a
            cache (`.f32`).
        sampling: what a network takes.

    Raises:
        UserError: there is no such file, or it is none of these.
    """
    paths = [Path(word) for word in words]
    for path in paths:
        if not path.exists():
            raise UserError(f"--data {path}: there is no such file or folder: check its path")
    if len(paths) > 1:
        wrong = [path for path in paths if path.suffix != ".npy"]
        if wrong:
            raise UserError(
                f"--data {wrong[0]}: several words are .npy files of one sample each; give a "
                f"table, a folder, an array or a cache alone"
            )
        return SampleFiles(table_of_files(paths), sampling, f"{len(paths)} files")
    path = paths[0]
    if path.is_dir():
        found = sorted(Path(name) for name in list_sample_files(path, str(path)))
        if not found:
            raise UserError(f"--data {path}: there are no .npy files in this folder or below it")
        return SampleFiles(table_of_files(found, path), sampling, str(path))
    if path.suffix == ".csv":
        return SampleFiles(read_paths(path), sampling, str(path))
    if path.suffix == ".f32":
        return CachedSamples(path, sampling)
    if path.suffix == ".npy":
        if count_dimensions(path) == 2:
            return SampleFiles(table_of_files([path]), sampling, str(path))
        return SampleArray(path, sampling)
    raise UserError(
        f"--data {path}: expected a table (.csv), a folder, .npy files or a cache (.f32)"
    )


def count_dimensions(path: Path) -> int | None:
    """Return the dimensions of a `.npy` array; None where it is damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).ndim
    except (OSError, ValueError, EOFError):
        return None


def table_of_files(paths: Sequence[Path], folder: Path | None = None) -> pd.DataFrame:
    """Return id and path of files; an id is the file's name, or its path below `folder`.

    Raises:
        UserError: two files have the same name.
    """
    ids = [path.stem for path in paths]
    if folder is not None and len(set(ids)) < len(ids):
        # the same name in several folders: a/x.npy and b/x.npy
        ids = [str(path.relative_to(folder).with_suffix("")) for path in paths]
    doubled = pd.Series(ids)[pd.Series(ids).duplicated()]
    if len(doubled):
        raise UserError(
            f"--data: two files are called {doubled.iloc[0]}.npy: give their folder, or a table "
            f"that gives each an id"
        )
    return pd.DataFrame({"id": ids, "path": [str(path) for path in paths]})


def read_paths(path: Path) -> pd.DataFrame:
    """Return id and path of a table; a path that is relative begins in the table's folder.

    Raises:
        UserError: the table is damaged, or lacks a column.
    """
    table = read_table(path, ("id", "path"), "give a table with the columns id and path")
    empty = table["path"] == ""
    if empty.any():
        raise UserError(f"{path}, row {int(empty.to_numpy().argmax()) + 2}: the path is empty")
    return table.assign(path=[str(path.parent / name) for name in table["path"]])
