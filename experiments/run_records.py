"""The JSON files of a run directory, read with their shapes checked.

A file that is damaged is an error that names it and says what to do, never a sign that something
was not done. prediction_stamp.py reads predictions.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import read_json_object

FOLD_STATE = {
    "epoch": int,
    "finished": bool,
    "history": list,
    "loss_by_step": list,
    "trained_from": dict,
    "adjusted": (list, type(None)),
    "weights": (str, type(None)),
}
TRAINED_FROM = {
    "samples": str,
    "strain": dict,
    "settings": str,
    "start": dict,
    "pseudo_labels": (str, type(None)),
}
NOT_VALIDATED = -1  # in folds.npy, of a sample that every network may have been trained on
CONFIG = {
    "name": str,
    "cv": int,
    "num_epochs": int,
    "dataset": str,
    "dataset_params": (dict, type(None)),
    "scheduler_params": (dict, type(None)),
    "optimizer_params": (dict, type(None)),
    "callbacks": (list, type(None)),
    "pseudo_labels": (dict, type(None)),
    "weight_path": (str, type(None)),
}


def read_fold_state(path: Path) -> dict[str, Any]:
    """Return the trainer's state in fold<k>.json; {} where there is none or it is empty.

    Raises:
        UserError: it is damaged.
    """
    if not path.exists():
        return {}
    # The checkpoints hold the state as well, so that nothing is lost by removing this file.
    what_to_do = f"restore or remove it; {path.stem}_last.pt and {path.stem}.pt hold the same"
    state = read_json_object(path, FOLD_STATE, what_to_do)
    for key in ("history", "adjusted", "loss_by_step"):
        if not all(isinstance(entry, dict) for entry in state.get(key) or ()):
            raise UserError(f"{path} has entries of {key!r} that are no objects: {what_to_do}")
    if not all(is_curve(entry) for entry in state.get("loss_by_step", ())):
        raise UserError(f"{path} has no steps with their losses in 'loss_by_step': {what_to_do}")
    before = state.get("trained_from", {})
    for key, kind in TRAINED_FROM.items():
        if before and not isinstance(before.get(key), kind):
            raise UserError(f"{path} has no {key!r} in 'trained_from': {what_to_do}")
    return state


def is_curve(entry: dict[str, Any]) -> bool:
    """Whether an entry is what `training.loss_by_step.add_epoch` writes."""
    steps, losses = entry.get("steps"), entry.get("losses")
    if not (isinstance(steps, list) and isinstance(losses, list) and len(steps) == len(losses)):
        return False
    counts = [entry.get("epoch"), entry.get("before"), *steps]
    return (
        bool(steps)
        and all(type(count) is int for count in counts)
        and min(steps) > 0
        and all(type(loss) in (int, float) for loss in losses)
    )


def read_run_config(folder: Path) -> dict[str, Any]:
    """Return config.json of a run; {} where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / "config.json"
    if not path.exists():
        return {}
    return read_json_object(path, CONFIG, "restore it", required=("name",))


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """Return the starts of a run that run.json lists; [] where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        return []
    what_to_do = "restore or remove it; it only describes the starts of the run"
    content = read_json_object(path, {"starts": list}, what_to_do)
    starts = content.get("starts", [content])  # an early run.json is itself the only start
    if not all(isinstance(start, dict) for start in starts):
        raise UserError(f"{path} has starts that are no objects: {what_to_do}")
    return starts
