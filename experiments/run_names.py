"""Which names a run may have, and which folders of the results are runs.

The folder of `train.py --dry_run` and folders that hold what a later start moved aside lie beside
the runs. Stacking and the report leave them out, so no run may have such a name.
"""

from __future__ import annotations

from pathlib import Path

from experiments.moved_aside import MOVED_ASIDE
from runtime.errors import UserError

DRY_RUN = "dry_run"  # the folder of train.py --dry_run: two batches of training, not a model
TUNING = "tuning"  # the folder of the studies of `python -m tuning`
LOOK = "look"  # the folder of the pictures of `python -m look`
# Stacking and the report write files with these endings beside the runs.
FILE_ENDINGS = (".csv", ".html", ".json", ".npy")
# A folder that holds one of these is a run directory.
MARKS = (
    "config.json",
    "run.json",
    "history.csv",
    "fold*.pt",
    "fold*.json",
    "outoffolds*.npy",
    "predictions*.npy",
)


def explain_reserved_name(name: str) -> str | None:
    """Return why a run may not have this name, as a clause; None if it may."""
    if name == DRY_RUN:
        return "that folder is the one of --dry_run, which stacking and the report leave out"
    if name == TUNING:
        return "that folder holds the studies of `python -m tuning`"
    if name == LOOK:
        return "that folder holds the pictures of `python -m look`"
    if MOVED_ASIDE.fullmatch(name):
        return (
            "a folder with a time at the end of its name holds what was moved aside, which "
            "stacking and the report leave out"
        )
    if name.endswith(FILE_ENDINGS):
        return "stacking and the report write files of such names beside the runs"
    return None


def check_run_name(name: str) -> None:
    """Refuse a name that is no folder name, or under which a run would be left out.

    Raises:
        UserError: it is one.
    """
    plain = Path(name).name == name and "\0" not in name
    if not plain or not name or name.startswith("."):
        raise UserError(f"name = {name!r}: expected a plain folder name")
    reason = explain_reserved_name(name)
    if reason is not None:
        raise UserError(
            f"name = {name!r}: {reason}: choose another with --set name=… (a folder of this name "
            f"may be renamed)"
        )


def is_run_directory(folder: Path) -> bool:
    """Whether a folder of the results holds a run, whatever state it is in."""
    return (
        folder.is_dir()
        and not folder.name.startswith(".")
        and explain_reserved_name(folder.name) is None
        and any(any(folder.glob(mark)) for mark in MARKS)
    )
