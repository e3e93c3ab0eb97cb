"""What a config reads of the training table beside id, target and path.

    limit_samples    train on so many samples, of each class in its share
    weight_column    a number for each sample, by which its loss is multiplied
    covariates       columns by which the summary and the report break the score down

The columns that splitters read are in folds.py.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from data.sample_files import read_table
from experiments.breakdown import check_covariate
from experiments.targets import BinaryTarget
from runtime.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd


# --- a part of the samples -------------------------------------------------------------------


def limit_rows(config: ConfigMeta, train: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the training table that a run takes, in their order.

    Of noise and of signals the same share is taken, and of 200 samples all are among the 400 that a
    larger run takes: the order in which samples are taken follows from their ids alone.

    Raises:
        UserError: `limit_samples` is more than there are, or too few for both classes.
    """
    count = config.limit_samples
    if count is None:
        return train
    if not 2 <= count <= len(train):
        raise UserError(
            f"limit_samples = {count}: {config.train_path} has {len(train)} samples, so expected 2 "
            f"to {len(train)}"
        )
    if config.targets.cls is BinaryTarget:
        target = config.targets.build()
        targets = target.strata(target.read(train, config.train_path), config.cv)
        signals = int((targets == 1).sum())
        # At least one of each class, where the table has both.
        wanted = {1: min(max(round(count * signals / len(train)), 1), count - 1, signals)}
        wanted[0] = count - wanted[1]
    else:  # of other targets, from all samples alike
        targets, wanted = np.zeros(len(train)), {0: count}
    ids = train["id"].to_numpy(str)
    order = np.array([hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids])
    chosen = []
    for target, number in wanted.items():
        rows = np.flatnonzero(targets == target)
        chosen.append(rows[np.argsort(order[rows], kind="stable")][:number])
    return train.iloc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


# --- weights ---------------------------------------------------------------------------------


def read_weights(config: ConfigMeta, train: pd.DataFrame) -> np.ndarray | None:
    """Return the weights (n,) float64 of the training samples, of mean 1; None without any.

    They are divided by their mean, so that the learning rate means what it does without weights.

    Raises:
        UserError: the table lacks the column, or a weight is negative or no number; or the data
            set, the loss or the hook takes no weights.
    """
    import pandas as pd

    column = config.weight_column
    if column is None:
        return None
    if column not in train.columns:
        raise UserError(
            f"weight_column = {column!r}: {config.train_path} has only "
            f"{', '.join(train.columns)}{nearest(column, train.columns)}"
        )
    weights = pd.to_numeric(train[column], errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{config.train_path}: the {column} of {train['id'].iloc[row]!r} is "
            f"{str(train[column].iloc[row])!r}, expected a number of 0 or more"
        )
    if not weights.any():
        raise UserError(f"{config.train_path}: every {column} is 0, so that nothing is learnt")
    known = accepted_arguments(config.dataset)  # None of a class that takes anything
    if known is not None and "weights" not in known:
        raise UserError(
            f"weight_column = {column!r}: {config.dataset.__name__} takes no weights of the "
            f"table's samples: use --set dataset=G2NetDataset, or leave weight_column out"
        )
    loss = config.criterion.cls
    forward = getattr(loss, "forward", loss.__call__)
    if "weights" not in inspect.signature(forward).parameters:
        raise UserError(
            f"weight_column = {column!r}: {loss.__name__} takes no weights: give its forward an "
            f"argument weights=None, (B, 1), or leave weight_column out"
        )
    hook = config.hook.cls
    # The class whose step it is: a child of TrainHook may compute its loss in its own way.
    owner = next((cls for cls in hook.__mro__ if "forward_train" in vars(cls)), hook)
    if not vars(owner).get("uses_weights", False):
        raise UserError(
            f"weight_column = {column!r}: {owner.__name__} does not say that its loss is weighted: "
            f"multiply by the batch's field 'weight' and state uses_weights = True in the class, "
            f"or leave weight_column out"
        )
    return weights / weights.mean()


# --- covariates ------------------------------------------------------------------------------


def check_covariates(config: ConfigMeta, train: pd.DataFrame) -> None:
    """Refuse covariates that cannot be found or broken down, before the training.

    Raises:
        UserError: there is one.
    """
    for column in config.covariates:
        if not isinstance(column, str):
            raise UserError(f"covariates holds {column!r}: expected names of columns")
        check_covariate(column, read_covariate(config.train_path, column, train))


def read_covariate(train_path: str | Path, column: str, train: pd.DataFrame) -> np.ndarray:
    """Return a column of the training samples (n,) as text, '' where a sample has no value.

    It is looked for in the table, and then in parameters.csv beside it, which simulated data have.

    Args:
        train_path: the path of the table.
        column: its name.
        train: the table.

    Raises:
        UserError: neither has it.
    """
    if column in train.columns:
        return train[column].astype(str).to_numpy(str)
    beside = Path(train_path).parent / "parameters.csv"
    columns = list(train.columns)
    if beside.is_file():
        table = read_table(beside, ("id",)).set_index("id")
        if column in table.columns:
            return table[column].reindex(train["id"]).fillna("").to_numpy(str)
        columns += list(table.columns)
    raise UserError(
        f"covariates: there is no column {column!r} in {train_path}, or in parameters.csv beside "
        f"it{nearest(column, columns)}"
    )
