"""The files of a data set: one `.npy` file a sample, and the tables (CSV) that list samples.

`read_table` is the only reader of tables in the project, so that a table means the same to every
command. Nothing here needs torch, so that prep_data.py starts at once.
"""

from __future__ import annotations

import os
import re
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from physics.observation import COMPETITION, Sampling
from runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PLAIN_ID = r"[0-9a-zA-Z_-]+"
# In paths that stand between line ends: one that is empty, or begins at the root, or has a part
# that is empty or begins with a dot, or a line end of its own.
UNUSUAL_PATH = re.compile(r"\n[\n/.]|/[\n/.]")


# --- one sample ------------------------------------------------------------------------------


def read_strain(
    path: str | os.PathLike[str], sampling: Sampling = COMPETITION.sampling
) -> np.ndarray:
    """Read one `.npy` sample, float64 or float32 on disk, returned as float32.

    The header is checked before anything is allocated, so that a damaged one cannot ask for
    terabytes.

    Args:
        path: the file.
        sampling: what it is a sample of.

    Returns:
        (detector, time).

    Raises:
        UserError: the file is missing, is cut short, is not a `.npy` file, has another shape or
            type, or holds NaN, infinity or a number beyond float32.
    """
    advice = "restore the file, or find all such files with `python prep_data.py --check`"
    try:
        with open(path, "rb") as file:
            raw = read_array(file, sampling)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: {advice}") from error
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise UserError(f"{path}: {error}: {advice}") from error
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused below
        strain = raw.astype(np.float32)
    if not np.isfinite(strain).all():
        raise UserError(f"{path}: holds non-finite values (NaN, infinity or > 3e38): {advice}")
    return strain


def read_array(file: BinaryIO, sampling: Sampling) -> np.ndarray:
    """Read the float array (detector, time) of a sample.

    Raises:
        ValueError: says in a few words what is wrong with the file.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"has npy format {version}, expected 1.0 or 2.0")
    expected = sampling.shape
    if shape != expected:
        raise ValueError(f"has the wrong shape {shape}, expected {expected} of {sampling}")
    if dtype.kind != "f" or dtype.itemsize not in (4, 8):
        raise ValueError(f"has the wrong dtype {dtype}, expected float64 or float32")
    size = dtype.itemsize * expected[0] * expected[1]  # bytes
    flat = np.frombuffer(file.read(size), np.uint8)
    if flat.size != size:
        raise ValueError("is cut short")
    # (detector * time,) -> (detector, time)
    return flat.view(dtype).reshape(expected, order="F" if fortran else "C")


# --- tables of samples -----------------------------------------------------------------------


def read_table(
    csv: str | os.PathLike[str], columns: Sequence[str], advice: str = "restore it"
) -> pd.DataFrame:
    """Read a CSV of samples.

    Ids are text, whatever they look like: 'NA', 'nan', 'null', '007' and '1e5' are ids. Targets
    are numbers, or True and False for 1 and 0.

    Args:
        csv: the table.
        columns: that it must have; 'id' among them.
        advice: what to do about a table that cannot be used, the end of every message.

    Returns:
        All columns of the table as text, but for the target as float64 where it was asked for.

    Raises:
        UserError: the file is missing, empty or not a CSV; a column is missing; an id is doubled
            or not plain; a target is not a number. Row numbers count the header as row 1.
    """
    import pandas as pd

    missing = "make it with `python prep_data.py`" if advice == "restore it" else advice

    try:
        table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise UserError(f"{csv} does not exist: {missing}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        raise UserError(f"{csv} cannot be read as a CSV ({error}): {advice}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas would shift the columns
        raise UserError(f"{csv}, row 2 has more fields than there are columns: {advice}")
    for column in columns:
        if column not in table.columns:
            found = ", ".join(table.columns)
            raise UserError(f"{csv} has no column {column!r}, only {found}: {advice}")
    if table.empty:
        raise UserError(f"{csv} lists no samples: {advice}")
    if not are_plain(table["id"].tolist()):
        plain = table["id"].str.fullmatch(PLAIN_ID)
        row = int((~plain).to_numpy().argmax())
        raise UserError(
            f"{csv}, row {row + 2}: the id {table['id'][row]!r} is not plain: "
            "only letters, digits, '_' and '-' are allowed"
        )
    doubled = table["id"].duplicated()
    if doubled.any():
        row = int(doubled.to_numpy().argmax())
        raise UserError(f"{csv}, row {row + 2}: the id {table['id'][row]!r} is there twice")
    if "target" in columns:
        # Each spelling once, of which there are few.
        places, words = pd.factorize(table["target"])
        # pandas itself would take 'True' for a number only where the whole column is of such.
        words = pd.Series(words, dtype=str).str.strip().str.lower()
        numbers = pd.to_numeric(words.replace({"true": "1", "false": "0"}), errors="coerce")
        target = numbers.to_numpy(np.float64)[places]
        if not np.isfinite(target).all():
            row = int((~np.isfinite(target)).argmax())
            raise UserError(
                f"{csv}, row {row + 2}: the target {table['target'][row]!r} is not a number"
            )
        table["target"] = target
    return table


def are_plain(ids: Sequence[str]) -> bool:
    """Return whether all ids are plain, by one match: half a million of them take half a second."""
    if not all(isinstance(name, str) for name in ids):  # a field that is missing
        return False
    text = "\n".join([*ids, ""])
    # An id with a line end of its own would be taken for two.
    return text.count("\n") == len(ids) and bool(re.fullmatch(rf"(?:{PLAIN_ID}\n)*", text))


def load_index(
    csv: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    columns: Sequence[str] = ("id", "target"),
) -> pd.DataFrame:
    """Return an index written by `prep_data.py`: columns id, target and path, one row a sample.

    Args:
        csv: `train.csv` or `test.csv`; relative paths begin in its folder.
        root: the folder that no path may leave, because a table may come from a stranger; None
            takes the folder of the CSV.
        columns: that it must have beside the path; the others are kept as text.

    Returns:
        The table with `path` made absolute. Files are not looked for: that they are there was
        checked when the index was made.

    Raises:
        UserError: see `read_table`; a path is empty or leaves `root`.
    """
    table = read_table(csv, (*columns, "path"))
    # With a symbolic link on the way, '..' would lead somewhere else: take the real folder.
    base = os.path.realpath(Path(csv).parent)
    fence = base if root is None else os.path.realpath(root)
    inside = fence.rstrip(os.sep) + os.sep
    listed = table["path"].tolist()
    # Names below the folder, as prep_data.py writes them: half a million need no look at each.
    text = "\n".join(["", *map(str, listed), ""])
    if (base + os.sep).startswith(inside) and not UNUSUAL_PATH.search(text):
        above = base.rstrip(os.sep)
        table["path"] = [f"{above}/{path}" for path in listed]
        return table
    paths = []
    for row, path in enumerate(listed, 2):
        if not path:
            raise UserError(f"{csv}, row {row}: the path is empty: run prep_data.py again")
        paths.append(os.path.normpath(os.path.join(base, path)))
        if not paths[-1].startswith(inside):
            raise UserError(
                f"{csv}, row {row}: the path {paths[-1]} leaves {fence}: if the samples do lie "
                f"there, allow it with --set data_root={os.path.dirname(paths[-1])}, or a folder "
                f"above"
            )
    table["path"] = paths
    return table


def list_sample_files(folder: Path, prefix: str, above: frozenset = frozenset()) -> Iterator[str]:
    """Yield every `.npy` file below a folder; faster than asking for each of 560,000.

    Symbolic links to folders are followed, as data are often spread over disks in this way.

    Args:
        folder: where to look; it may be missing.
        prefix: the path of the folder that the paths begin with.
        above: device and inode of the folders on the way, so that a link to one of them does not
            lead round in circles.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.is_dir():
                place = os.stat(entry.path)
                key = (place.st_dev, place.st_ino)
                if key not in above:
                    yield from list_sample_files(Path(entry.path), name, above | {key})
            elif entry.name.endswith(".npy"):
                yield name
