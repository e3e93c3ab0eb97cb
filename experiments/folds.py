"""How the training samples are shared out into folds.

    StratifiedKFold        the default: each fold has as many signals as the others
    KFold                  without regard to the targets
    GroupKFold             samples of one group stay together: the table's column `group`
    StratifiedGroupKFold   both
    PredefinedSplit        the fold of each sample stands in the table: the column `fold`, from 0;
                           -1 for samples that are only trained on
    HoldOut, TimeSplit     and cv = 1: see partial_splits.py

`splitter_params` are the arguments of scikit-learn's class. `column` among them names another
column of the table, e.g. `splitter_params.column=month` with GroupKFold.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.class_with_arguments import thaw
from configuration.config_class import ConfigMeta
from data.sample_files import read_table
from experiments.partial_splits import (
    ARGUMENTS,
    Folds,
    check_arguments,
    hold_out,
    read_times,
    split_by_time,
    train_on_all,
)
from experiments.run_records import NOT_VALIDATED
from experiments.sample_table import check_covariates, limit_rows, read_weights
from experiments.stratified_folds import stratified_folds
from experiments.targets import BinaryTarget, check_columns_of_table, columns_of_tables
from runtime.console import LOGGER
from runtime.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

# The column that a splitter reads, and how `--set` names the splitters that read it.
COLUMNS = {
    "GroupKFold": "group",
    "StratifiedGroupKFold": "group",
    "PredefinedSplit": "fold",
    "TimeSplit": "time",
}
READERS = {"group": "StratifiedGroupKFold", "fold": "PredefinedSplit"}


def split_folds(config: ConfigMeta, train: pd.DataFrame) -> Folds:
    """Return (training rows, validation rows) of each fold.

    Args:
        train: the training table: target, and the column that the splitter reads.

    Raises:
        UserError: a class has fewer samples than there are folds, the table lacks the splitter's
            column, or the folds do not share the samples out.
    """
    # Of several outputs or numbers: the parts that each fold has as many samples of.
    target = config.targets.build()
    check_columns_of_table(train, config.train_path, target.columns)
    targets = target.strata(target.read(train, config.train_path), config.cv)
    check_count_of_folds(config, targets)
    if config.splitter == "HoldOut":
        groups = None
        if reads_column(config):
            groups = read_column(config, train, find_column(config)).to_numpy(str)
        folds = hold_out(config, targets, groups)
    elif config.splitter == "TimeSplit":
        column = find_column(config)
        times = read_times(config, column, read_column(config, train, column))
        folds = split_by_time(config, times)
    elif config.splitter == "PredefinedSplit":
        folds = split_by_column(config, train)
    elif config.cv == 1:
        find_splitter(config)  # refuses a misspelt one
        folds = train_on_all(len(targets))
    else:
        folds = split_by_scikit_learn(config, train, targets)
    check_classes_of_folds(config, targets, folds)
    return folds


def split_by_scikit_learn(config: ConfigMeta, train: pd.DataFrame, targets: np.ndarray) -> Folds:
    """Return the folds of a class of scikit-learn, which validate every sample once.

    Args:
        targets: (n,) of the training table.

    Raises:
        UserError: as in `split_folds`.
    """
    if is_plain_stratified(config, targets):
        return stratified_folds(targets, config.cv, config.splitter_params["random_state"])
    splitter, groups = build_splitter(config), None
    if config.splitter in COLUMNS:
        groups = read_column(config, train, find_column(config)).to_numpy(str)
        check_count_of_groups(config, groups)
    try:
        folds = list(splitter.split(np.zeros(len(targets)), targets, groups))
    except (TypeError, ValueError) as error:
        raise UserError(f"splitter = {config.splitter!r}: {error}") from error
    # Every row exactly once, or outoffolds.npy would have gaps or be overwritten.
    validated = np.sort(np.concatenate([rows for _, rows in folds]))
    if not np.array_equal(validated, np.arange(len(targets))):
        raise UserError(
            f"splitter = {config.splitter!r} does not validate every sample once, so that there "
            f"are no out-of-fold predictions: use KFold or StratifiedKFold, or HoldOut with cv=1"
        )
    return folds


def is_plain_stratified(config: ConfigMeta, targets: np.ndarray) -> bool:
    """Whether the folds are the default ones, for which scikit-learn need not be imported.

    Importing it takes longer than to read a table of half a million samples.
    """
    params = config.splitter_params
    seed = params.get("random_state")
    return (
        config.splitter == "StratifiedKFold"
        and params.keys() == {"shuffle", "random_state"}
        and params["shuffle"] is True
        and type(seed) is int
        and 0 <= seed < 2**32
        and bool((targets == np.round(targets)).all())
    )


def check_count_of_folds(config: ConfigMeta, targets: np.ndarray) -> None:
    """Check cv against the targets (n,).

    sklearn only warns, and the AUC of a fold of one class fails after its training.

    Raises:
        UserError: cv is below 1, or a class has fewer samples.
    """
    of_signals = config.targets.cls is BinaryTarget
    classes = (0, 1) if of_signals else np.unique(targets)
    smallest = min(int((targets == value).sum()) for value in classes)
    if config.cv < 1:
        raise UserError(
            f"cv = {config.cv}: expected 2 folds or more, or 1 to train on all samples without "
            f"validation"
        )
    if smallest < config.cv:
        fewer = f" or --set cv={smallest}" if smallest > 1 else ""
        raise UserError(
            f"{config.train_path} has only {smallest} samples of one class, too few for "
            f"{config.cv} folds: add samples of it{fewer}"
        )


def find_splitter(config: ConfigMeta) -> type:
    """Return the splitter's class of scikit-learn.

    Raises:
        UserError: there is none of that name.
    """
    import sklearn.model_selection

    names = [name for name in dir(sklearn.model_selection) if name.endswith("Fold")]
    # Only *Fold is suggested: the Shuffle splitters leave samples out of validation.
    if not hasattr(sklearn.model_selection, config.splitter):
        raise UserError(
            f"splitter = {config.splitter!r}: sklearn.model_selection has no such class"
            f"{nearest(config.splitter, [*names, *COLUMNS, *ARGUMENTS])}"
        )
    return getattr(sklearn.model_selection, config.splitter)


def build_splitter(config: ConfigMeta) -> Any:
    """Return the splitter of a config, an object of scikit-learn.

    Raises:
        UserError: there is no such class, it does not take these arguments, or it would share
            samples out in another way at each start.
    """
    cls = find_splitter(config)
    params = {key: value for key, value in thaw(config.splitter_params).items() if key != "column"}
    if config.splitter == "GroupKFold" and "shuffle" not in inspect.signature(cls).parameters:
        # scikit-learn before 1.6 does not shuffle groups; the default arguments ask for it
        params = {
            key: value for key, value in params.items() if key not in ("shuffle", "random_state")
        }
    try:
        splitter = cls(n_splits=config.cv, **params)
        if getattr(splitter, "shuffle", False) and not isinstance(splitter.random_state, int):
            raise ValueError("shuffle needs a random_state, or folds differ from start to start")
    except (TypeError, ValueError) as error:
        raise UserError(f"splitter_params of {config.splitter}: {error}") from error
    return splitter


def reads_column(config: ConfigMeta) -> bool:
    """Whether the splitter reads a column of the training table."""
    by_groups = config.splitter == "HoldOut" and "column" in config.splitter_params
    return by_groups or config.splitter in COLUMNS


def find_column(config: ConfigMeta) -> str:
    """Return the column that the splitter reads."""
    return str(config.splitter_params.get("column", COLUMNS.get(config.splitter)))


def read_column(config: ConfigMeta, train: pd.DataFrame, column: str) -> pd.Series:
    """Return the splitter's column of the training table, as text.

    Raises:
        UserError: the table lacks it, or a field of it is empty.
    """
    if column not in train.columns:
        raise UserError(
            f"splitter = {config.splitter!r} reads the column {column!r}, and {config.train_path} "
            f"has only {', '.join(train.columns)}: add it, name another with "
            f"--set splitter_params.column=NAME, or use --set splitter=StratifiedKFold"
        )
    empty = (train[column].astype(str) == "").to_numpy()
    if empty.any():
        raise UserError(
            f"{config.train_path}, row {int(empty.argmax()) + 2}: the {column} is empty: fill it in"
        )
    return train[column].astype(str)


def check_count_of_groups(config: ConfigMeta, groups: np.ndarray) -> None:
    """Check that there is a group for each fold.

    Args:
        groups: (n,) text.

    Raises:
        UserError: there are fewer groups than folds.
    """
    count = len(np.unique(groups))
    if count < config.cv:
        raise UserError(
            f"{config.train_path} has {count} different values of {find_column(config)!r}, too few "
            f"for {config.cv} folds: --set cv={max(count, 2)}, or add samples of other groups"
        )


def split_by_column(config: ConfigMeta, train: pd.DataFrame) -> Folds:
    """Return the folds that the training table itself names.

    Raises:
        UserError: it lacks the column, or holds anything but 0 to cv - 1, and -1.
    """
    column = find_column(config)
    words = read_column(config, train, column)
    # -1 as in scikit-learn's own class: trained on by every network
    known = {str(fold): fold for fold in (*range(config.cv), NOT_VALIDATED)}
    wrong = (~words.isin(list(known))).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{config.train_path}, row {row + 2}: the {column} is {words.iloc[row]!r}, expected 0 "
            f"to {config.cv - 1}, or -1 for a sample that is only trained on: correct it, or say "
            f"with --set cv=N how many folds there are"
        )
    fold_of_row = words.map(known).to_numpy()
    absent = sorted(set(range(config.cv)) - set(fold_of_row))
    if absent:
        raise UserError(
            f"{config.train_path}: no sample is in {column} {absent[0]}, and cv = {config.cv}: say "
            f"with --set cv=N how many folds there are"
        )
    return [
        (np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in range(config.cv)
    ]


def check_classes_of_folds(config: ConfigMeta, targets: np.ndarray, folds: Folds) -> None:
    """Refuse folds that cannot be learnt from or scored.

    Args:
        targets: (n,) of the training table.
        folds: (training rows, validation rows) of each.

    Raises:
        UserError: the training or validation rows of a fold are all of one class.
    """
    other = "StratifiedGroupKFold" if config.splitter == "GroupKFold" else "StratifiedKFold"
    for fold, parts in enumerate(folds):
        for name, rows in zip(("trained", "validated"), parts, strict=True):
            if name == "validated" and not len(rows):
                continue  # cv = 1: no score is wanted
            if len(np.unique(targets[rows])) < 2:
                raise UserError(
                    f"fold {fold} would be {name} on {len(rows)} samples of one class, which gives "
                    f"no score: {config.splitter} shares {config.train_path} out so; use "
                    f"--set splitter={other}"
                )


def mention_unused_columns(config: ConfigMeta, train: pd.DataFrame) -> None:
    """Warn of a column `group` or `fold` that the splitter does not read, and of unused weights.

    Samples of one group in training and validation would flatter the score without a word.
    """
    if "weight" in train.columns and config.weight_column is None:
        LOGGER.warning(
            f"{config.train_path} has a column 'weight', which nothing reads: "
            f"--set weight_column=weight weighs the samples' losses by it"
        )
    used = find_column(config) if reads_column(config) else None
    for column, splitter in READERS.items():
        if column in train.columns and column != used:
            LOGGER.warning(
                f"{config.train_path} has a column {column!r}, which {config.splitter} does not "
                f"read: --set splitter={splitter} does"
            )


def check_splitter(config: ConfigMeta) -> None:
    """Refuse a splitter or a column that cannot work, as far as can be told without training.

    Raises:
        UserError: as in `split_folds`, and in the functions of sample_table.py; the table is only
            looked at where it is there.
    """
    if config.splitter in ARGUMENTS:
        check_arguments(config)
    elif config.splitter != "PredefinedSplit":
        find_splitter(config) if config.cv == 1 else build_splitter(config)
    needs_table = reads_column(config) or config.limit_samples is not None
    if not (needs_table or config.weight_column or config.covariates):
        return
    if Path(config.train_path).is_file():
        table = limit_rows(config, read_table(config.train_path, columns_of_tables(config)))
        split_folds(config, table)
        read_weights(config, table)
        check_covariates(config, table)


def fold_of_rows(folds: Folds, n: int) -> np.ndarray:
    """Return the fold (n,) in which each training row is validated, or `NOT_VALIDATED`."""
    fold_of_row = np.full(n, NOT_VALIDATED, np.int64)
    for fold, (_, rows) in enumerate(folds):
        fold_of_row[rows] = fold
    return fold_of_row
