"""The tables that a stack needs: the training targets and the order of the submission."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.sample_files import read_table
from experiments.predictions import align, align_table
from runtime.errors import UserError
from runtime.files import read_json_object

NAME_TRAIN = "name the table of training targets with --train_csv"
NAME_SAMPLE = "name Kaggle's file of that name with --sample_submission"


def table_paths(folders: Sequence[Path], key: str) -> list[Path]:
    """Return the tables that the runs' config.json name as `key`, each file once.

    Two spellings of one path are one table.
    """
    tables: dict[Path, Path] = {}
    for folder in folders:
        path = folder / "config.json"
        value = read_json_object(path).get(key) if path.exists() else None
        if isinstance(value, str) and value:
            # The first spelling is kept: it is the one that messages show.
            tables.setdefault(Path(value).resolve(), Path(value))
    return list(tables.values())


def read_training_targets(folders: Sequence[Path], ids: np.ndarray) -> tuple[Path, np.ndarray]:
    """Return the table of training samples that the runs name, and the targets (n,) of `ids`.

    The runs may name several tables (copies, or one that has moved) as long as those that exist
    give these samples the same targets.

    Raises:
        UserError: no table is named or readable, or two of them differ.
    """
    paths = table_paths(folders, "train_path")
    if not paths:
        raise UserError(
            f"no config.json in {folders[0].parent} names the train_path of its run: {NAME_TRAIN}"
        )
    # Where none exists the first is read all the same, for the message that says so.
    there = [path for path in paths if path.is_file()] or paths[:1]
    targets = read_targets(there[0], ids)
    for path in there[1:]:
        other = read_targets(path, ids) != targets
        if other.any():
            raise UserError(
                f"{there[0]} and {path} give {ids[other.argmax()]!s} different targets, and runs "
                f"were trained on each of them: {NAME_TRAIN}"
            )
    return there[0], targets


def read_targets(path: Path, ids: np.ndarray) -> np.ndarray:
    """Return the targets (n,) of the samples `ids`, read as training reads them.

    Raises:
        UserError: the table cannot be read, lacks a sample, or a target is not 0 or 1.
    """
    table = read_table(path, ("id", "target"), NAME_TRAIN)
    targets = align_table(table, ids, str(path))["target"].to_numpy()
    wrong = ~np.isin(targets, (0.0, 1.0))
    if wrong.any():
        raise UserError(
            f"{path} gives {ids[wrong.argmax()]!s} a target other than 0 and 1: {NAME_TRAIN}"
        )
    return targets


def submission_order(
    ids: np.ndarray, sample: str | os.PathLike[str] | None, beside: Path | None
) -> np.ndarray:
    """Return the ids (m,) in the order of sample_submission.csv; unchanged if there is none.

    Args:
        sample: the file; None means the one beside the test table `beside`, if it exists.

    Raises:
        UserError: the file lists other samples.
    """
    if sample is None:
        sample = beside.parent / "sample_submission.csv" if beside is not None else None
        if sample is None or not sample.is_file():
            return ids
    table = read_table(Path(sample), ("id",), NAME_SAMPLE)
    wanted = table["id"].to_numpy(dtype=str)
    # Compared before the ids: a subset would pass `align`, and rows would be lost.
    if len(wanted) != len(ids):
        raise UserError(
            f"{sample} has {len(wanted)} samples and the runs have {len(ids)} test samples: "
            f"predict all of them, or name the right file with --sample_submission"
        )
    align(ids, wanted, f"the test set of the runs, which {sample} is to be filled from,")
    return wanted
