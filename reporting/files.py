"""Read the files of a run, damaged or not.

Whatever is wrong with a file becomes a `UserError`, which the report turns into a note.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.sample_files import read_table
from experiments.predictions import Predictions, align, align_table, read_predictions
from experiments.signal_quantities import SignalParameters
from experiments.summary import read_history
from reporting.comparison import AlignedScores
from runtime.errors import UserError
from runtime.files import read_json_object


class Tables:
    """Targets and signals by sample id, and the sets of samples so far; each file is read once."""

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}
        self.aligned: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        # by 'train' and 'test'
        self.sets: dict[str, list[np.ndarray]] = {"train": [], "test": []}
        self.signals = SignalParameters()

    def targets(self, path: Path, ids: np.ndarray) -> np.ndarray:
        """Return the targets (n,) of these samples.

        Raises:
            UserError: the table cannot be read or lacks one of them.
        """
        key = os.fspath(path)
        # Most runs of a folder have the same samples: one alignment serves them all.
        for known, targets in self.aligned.setdefault(key, []):
            if np.array_equal(known, ids):
                return targets
        table = align_table(self.table(path), ids, key)
        targets = table["target"].to_numpy(np.float64)
        self.aligned[key].append((ids, targets))
        return targets

    def table(self, path: Path) -> Any:
        """Return a table with id and target.

        Raises:
            UserError: it cannot be read.
        """
        key = os.fspath(path)
        if key not in self.tables:
            try:
                self.tables[key] = read_table(path, ("id", "target"))
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error}): restore it") from error
        return self.tables[key]

    def share_of_signals(self, path: Path) -> float | None:
        """Return the share of signals in a table; None where it cannot be read or has others."""
        try:
            targets = np.round(self.table(path)["target"].to_numpy(np.float64))
        except UserError:
            return None
        return float(targets.mean()) if np.isin(targets, (0, 1)).all() else None

    def letter(self, ids: np.ndarray, split: str = "train") -> str:
        """Return a letter for a set of samples: the same one for the same set in any order."""
        sets = self.sets[split]
        number = next((n for n, known in enumerate(sets) if same_set(known, ids)), None)
        if number is None:
            number = len(sets)
            sets.append(ids)
        return chr(ord("A") + number) if number < 26 else f"A{number}"

    def align_scores(
        self, split: str, ids: np.ndarray, targets: np.ndarray, scores: np.ndarray
    ) -> AlignedScores:
        """Return scores (n,) in the order that all runs of the same samples share."""
        letter = self.letter(ids, split)
        number = int(letter[1:]) if len(letter) > 1 else ord(letter) - ord("A")
        known = self.sets[split][number]
        if not np.array_equal(known, ids):
            place = align(ids, known, "predictions")
            targets, scores = targets[place], scores[place]
        return AlignedScores(letter, targets, scores)


def same_set(ids: np.ndarray, others: np.ndarray) -> bool:
    return len(ids) == len(others) and (
        # the order is mostly the same, and comparing is much faster than sorting
        np.array_equal(ids, others) or np.array_equal(np.sort(ids), np.sort(others))
    )


def read_predictions_safely(folder: Path, suffix: str) -> Predictions:
    """Like `read_predictions`, with a `UserError` also for arrays that are too large or not ids."""
    try:
        predictions = read_predictions(folder, suffix)
    # the damaged header of a .npy file can claim any size
    except MemoryError as error:
        raise UserError(
            f"an array in {folder} does not fit into memory ({error}): predict again with "
            f"--inference"
        ) from error
    for split in ("train", "test"):
        ids = getattr(predictions, f"{split}_ids")
        # Ids of another type would match none in the tables, where all ids are text.
        if ids.dtype.kind != "U" or ids.ndim != 1:
            raise UserError(
                f"{folder / f'ids_{split}.npy'} holds {ids.dtype} of shape {ids.shape}, expected "
                f"a list of ids: predict again with --inference"
            )
    return predictions


def read_starts(path: Path) -> list[dict[str, Any]]:
    content = read_json_object(path)
    starts = content.get("starts", [content])  # an early run.json is itself the only start
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise UserError(f"{path} has no list of starts: restore or remove it")
    return starts


def read_learning_curves(path: Path) -> list[dict[str, float]]:
    """Read history.csv or loss_by_step.csv; empty if there is none, as in the first epoch."""
    try:
        history = read_history(path)
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): remove it and train on") from error
    # the first row of the file is its header
    for number, row in enumerate(history, 2):
        if not all(math.isfinite(row.get(key, math.nan)) for key in ("fold", "epoch")):
            raise UserError(f"{path}, row {number}: no fold or no epoch: remove it and train on")
    return history


# --- values ----------------------------------------------------------------------------------


def path_of(config: Mapping[str, Any], key: str) -> Path:
    value = config.get(key)
    # A NUL byte in a path makes open() raise ValueError, which no reader of files expects.
    if not isinstance(value, str) or not value or "\0" in value:
        raise UserError(f"config.json names no {key}, so the targets are not known")
    return Path(value)


def params_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    params = config.get("model_params")
    return params if isinstance(params, Mapping) else {}


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def int_or_none(value: Any) -> int | None:
    # bool is a subclass of int, and JSON's true is no number
    return value if isinstance(value, int) and not isinstance(value, bool) else None
