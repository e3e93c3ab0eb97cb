"""Files that are written whole or not at all, and finished ones that are moved, never lost."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import UserError

TEMPORARY = r"\.[0-9a-f]{12}\.tmp(\..+)?"  # how names end while `atomic_path` has a file written


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds, flush that file to disk and rename it.

    Whatever happens in the block, or to the machine, `path` holds either its old content or the
    whole new one.

    Args:
        path: to write; its folder is created.
        size: bytes that will be written, if known, for the message of a full disk.

    Raises:
        UserError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because numpy and matplotlib choose the format by it. Random digits
    # and not the process number: containers that share a folder may have equal numbers.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{path} could not be written ({error.strerror}): free "
            f"{'some space' if size is None else f'{size:,} bytes'} on its disk and start again "
            f"with --resume; what was there before is untouched"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path, name: str) -> bool:
    """Return whether `path` is what `atomic_path` writes to before it renames it to `name`."""
    return re.fullmatch(rf"\.{re.escape(Path(name).stem)}{TEMPORARY}", path.name) is not None


def remove_temporaries(folder: Path, names: Iterable[str]) -> list[Path]:
    """Remove what killed processes left half written of some files, and return what was removed.

    The caller holds the lock under which these files are written: without it, the temporary file
    of a living process would go too.

    Args:
        folder: where the files are.
        names: of the files themselves, e.g. "train.csv".
    """
    names = list(names)
    removed = [
        path
        for path in sorted(folder.glob(".*.tmp*"))
        if any(is_temporary(path, name) for name in names)
    ]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def move_aside(path: Path) -> Path:
    """Rename a finished file or folder to make room for a new one, and return its new path.

    Raises:
        UserError: it cannot be renamed, or it is the working directory or holds it. The shell would
            then be left in the folder that was moved, and relative paths would lead there.
    """
    aside = name_aside(path)
    if path.is_dir() and Path.cwd().is_relative_to(path.resolve()):
        raise UserError(
            f"{path.resolve()} cannot be moved aside while it is the working directory: start the "
            f"command from a folder outside it"
        )
    try:
        os.rename(path, aside)
    except OSError as error:  # e.g. a mount point, or a folder above it that is read-only
        raise UserError(
            f"{path} cannot be moved aside to {aside} ({error.strerror}): choose another folder"
        ) from error
    return aside


def name_aside(path: Path) -> Path:
    """Return a free name to move a file or folder to.

    The time goes before the suffix: `train.csv` becomes `train.20260102-030405.csv`, or with -2,
    -3, ... where that exists.

    Raises:
        UserError: the path is the root folder, which has no name.
    """
    if path.name in ("", ".."):  # '.', '..' and '/': only the real path has a name
        path = path.resolve()
    if not path.name:
        raise UserError(f"{path} cannot be moved aside: choose another folder")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        extra = "" if number == 1 else f"-{number}"
        aside = path.with_name(f"{path.stem}.{stamp}{extra}{path.suffix}")
        if not os.path.lexists(aside):
            return aside
        number += 1


def format_json(value: Any) -> str:
    """Return a value as indented JSON, as `write_json` writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(format_json(value))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the value in a JSON file.

    Raises:
        UserError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except OSError as error:  # a folder of this name, no permission, a damaged disk
        raise UserError(f"{path} cannot be read ({error}): restore or remove it") from error
    # JSON nested too deep is a RecursionError, a number of too many digits a ValueError.
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a JSON file ({error}): restore or remove it") from error


def read_json_object(
    path: str | os.PathLike[str],
    types: Mapping[str, type | tuple[type, ...]] | None = None,
    what_to_do: str = "restore or remove it",
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the object in a JSON file, of which some entries have been checked.

    Args:
        types: what the entries of these keys are, where they are there.
        what_to_do: the end of the message.
        required: keys that must be there.

    Raises:
        UserError: the file is missing, cannot be read, is not JSON, holds something else than an
            object, or lacks an entry or has one of another type.
    """
    try:
        value = read_json(path)
    except UserError as error:
        if isinstance(error.__cause__, OSError):  # missing or unreadable: no JSON was seen
            raise
        raise UserError(f"{path} is not a JSON file: {what_to_do}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, expected an object: {what_to_do}")
    missing = [key for key in required if key not in value]
    if missing:
        raise UserError(f"{path} has no entry {missing[0]!r}: {what_to_do}")
    for key, kind in (types or {}).items():
        if key in value and not isinstance(value[key], kind):
            raise UserError(
                f"{path} has a {type(value[key]).__name__} as {key!r}, which it never holds: "
                f"{what_to_do}"
            )
    return value


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number that float64 can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    # JSON has integers of any length; those above 1.8e308 fit no float
    except OverflowError:
        return False
