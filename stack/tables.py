"""The tables that a stack needs: the training targets and the order of the submission."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.predictions import align, align_table
from runtime.errors import UserError
from runtime.files import read_json

if TYPE_CHECKING:
    import pandas as pd


def table_paths(folders: Sequence[Path], key: str) -> dict[Path, Path]:
    """Return the tables that the runs' config.json name as `key`, each with the first such run."""
    named: dict[Path, Path] = {}
    for folder in folders:
        path = folder / "config.json"
        if path.exists() and (value := read_json(path).get(key)) is not None:
            named.setdefault(Path(value), folder)
    return named


def training_table_path(folders: Sequence[Path]) -> Path:
    """Return the table of training samples that all runs name.

    Raises:
        UserError: no config.json names one, or they name different ones.
    """
    named = list(table_paths(folders, "train_path").items())
    if not named:
        raise UserError(
            f"no config.json below {folders[0].parent} names the train_path of its run: name the "
            f"table of training targets with --train_csv"
        )
    if len(named) > 1:
        (one, by_one), (other, by_other) = named[:2]
        raise UserError(
            f"{by_one} was trained on {one} and {by_other} on {other}: say which of them holds "
            f"the targets with --train_csv"
        )
    return named[0][0]


def read_table(path: Path, what_to_do: str, targets: bool = True) -> pd.DataFrame:
    """Read the columns id and target of a CSV.

    Raises:
        UserError: it is missing, lacks a column, or names a sample twice.
    """
    import pandas as pd

    if not path.is_file():
        raise UserError(f"{path} does not exist: {what_to_do}")
    columns = ["id", "target"] if targets else ["id"]
    try:
        table = pd.read_csv(path, dtype={"id": str})
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} is not a CSV table ({error}): {what_to_do}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas would shift the columns
        raise UserError(f"{path}, row 2 has more fields than there are columns: {what_to_do}")
    for column in columns:
        if column not in table:
            raise UserError(f"{path} has no column {column!r}, only {list(table)}: {what_to_do}")
    if table["id"].duplicated().any():
        twice = table["id"][table["id"].duplicated()].iloc[0]
        raise UserError(f"{path} has {twice!r} twice: {what_to_do}")
    return table[columns]


def read_targets(path: Path, ids: np.ndarray) -> np.ndarray:
    """Return the targets (n,) of the samples `ids`.

    Raises:
        UserError: the table cannot be read, lacks a sample, or a target is not 0 or 1.
    """
    table = read_table(path, "name the table of training targets with --train_csv")
    targets = align_table(table, ids, str(path))["target"].to_numpy()
    try:
        targets = targets.astype(np.float64)
    except ValueError:
        targets = np.full(len(ids), np.nan)
    wrong = ~np.isin(targets, (0.0, 1.0))
    if wrong.any():
        raise UserError(
            f"{path} gives {ids[wrong.argmax()]!s} a target other than 0 and 1: name a table of "
            f"true targets with --train_csv"
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
    table = read_table(
        Path(sample), "name Kaggle's file of that name with --sample_submission", targets=False
    )
    wanted = table["id"].to_numpy(dtype=str)
    if len(wanted) != len(ids):
        raise UserError(
            f"{sample} has {len(wanted)} samples and the runs have {len(ids)} test samples: "
            f"predict all of them, or name the right file with --sample_submission"
        )
    align(ids, wanted, f"the test set of the runs, which {sample} is to be filled from,")
    return wanted
