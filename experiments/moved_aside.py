"""Moving results aside instead of deleting them: results/demo -> results/demo.20260102-030405.

A move is written down before it begins (`.moving_aside.json`), and the next start completes one
that was killed half-way: files of two experiments never lie mixed in one folder.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import read_json_object, write_json

MOVED_ASIDE = re.compile(r".+\.\d{8}-\d{6}(-\d+)?")
JOURNAL = ".moving_aside.json"


def is_moved_aside(folder: Path) -> bool:
    """Whether a folder holds what a later start moved aside, so that it is no run of its own."""
    return MOVED_ASIDE.fullmatch(folder.name) is not None


def move_aside(
    folder: Path, moved: Iterable[str], copied: Iterable[str] = (), described_by: Iterable[str] = ()
) -> Path | None:
    """Move files and folders of a run into a new folder beside it; say so in the log.

    Args:
        folder: results/<name>.
        moved: names in it.
        copied: names of files that are to be written over.
        described_by: names of files that the others are not readable without, copied with them.

    Returns:
        The new folder; None where none of `moved` and `copied` exists.
    """
    moved, copied, described_by = (
        sorted(name for name in set(names) if (folder / name).exists())
        for names in (moved, copied, described_by)
    )
    if not moved and not copied:
        return None
    target = new_name_beside(folder)
    copies = [name for name in [*copied, *described_by] if name not in moved]
    # From here on a kill is completed by the next start, with this very target.
    write_json(folder / JOURNAL, {"to": target.name, "move": moved, "copy": copies})
    complete_move(folder)
    what = [f"moved {', '.join(moved)}"] if moved else []
    what += [f"copied {', '.join(copied)}"] if copied else []
    LOGGER.info(f"{' and '.join(what)} of {folder} to {target}")
    return target


def complete_move(folder: Path) -> None:
    """Do what is left of a move, if one was begun.

    Raises:
        UserError: what was written down of it is damaged.
    """
    journal = folder / JOURNAL
    if not journal.exists():
        return
    content = read_journal(journal)
    target = folder.with_name(content["to"])
    # Every step can be repeated: this may be the second try after a kill.
    target.mkdir(exist_ok=True)
    for name in content["copy"]:
        if (folder / name).is_file() and not (target / name).exists():
            copy_unchanging(folder / name, target / name)
    for name in content["move"]:
        # A name that is gone was moved before the kill.
        if (folder / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / name, target / name)
    journal.unlink()


def read_journal(journal: Path) -> dict[str, Any]:
    """Return what was written down of a move: `to`, and the names to `move` and to `copy`.

    Raises:
        UserError: it is damaged, or names something outside the run or what was moved aside of it.
    """
    what_to_do = (
        f"a move of files was killed half-way: remove this file, and the rest of the run stays "
        f"where it is; what was moved is in {journal.parent}.<time>"
    )
    types = {"to": str, "move": list, "copy": list}
    content = read_json_object(journal, types, what_to_do, required=tuple(types))
    target, names = content["to"], [*content["move"], *content["copy"]]
    sound = target.startswith(f"{journal.parent.name}.") and MOVED_ASIDE.fullmatch(target)
    for name in names:
        # tensorboard/fold0 is one; an absolute name or '..' would lead out of the run.
        sound = sound and isinstance(name, str) and not Path(name).is_absolute()
        sound = sound and name and ".." not in Path(name).parts and "\0" not in name
    if not sound or "/" in target or "\0" in target:
        raise UserError(f"{journal} does not say what was moved where: {what_to_do}")
    return content


def copy_unchanging(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk knows no links.

    The run replaces its files and never writes into them, so that the second name keeps the old
    content.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def new_name_beside(folder: Path) -> Path:
    """Return a path beside `folder` that does not exist, with the time in its name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target, number = folder.with_name(f"{folder.name}.{stamp}"), 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}.{stamp}-{number}")
    return target
