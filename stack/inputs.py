"""What a stack is made of: the runs of a results folder, joined by sample id.

    find_runs -> read_runs -> join -> StackData

Rows are joined by id and never by position. A run with a missing fold, with other samples or with
other folds than the rest is refused by name: a stack of it would be wrong without looking wrong.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configuration.rules import published_stack
from experiments.predictions import (
    Predictions,
    align,
    align_table,
    has_predictions,
    read_predictions,
)
from runtime.console import LOGGER
from runtime.errors import UserError, nearest
from runtime.files import atomic_path, read_json

if TYPE_CHECKING:
    import pandas as pd

DRY_RUN = "dry_run"  # the folder of train.py --dry_run: two batches of training, no model


@dataclass(frozen=True)
class FinalExperiment:
    """One of the experiments that the published solution stacked.

    Attributes:
        name: its folder in results/.
        config: its class in configs.py.
        column: its position in the published stack, from 0.
        tta: whether the published stack used its logits averaged over the test-time views.
    """

    name: str
    config: str
    column: int
    tta: bool


def final_experiments() -> list[FinalExperiment]:
    """Return the published stack's experiments in its order of columns, as configs.py has them."""
    return [
        FinalExperiment(
            config.name, config.__name__, config.published["column"], config.published["tta"]
        )
        for config in published_stack()
    ]


@dataclass(frozen=True)
class StackData:
    """The joined logits of several runs. Models are in the columns, in the order of `names`.

    Attributes:
        names: (models,) the runs' names.
        suffixes: (models,) '' or '_tta', which pair of arrays each is.
        train_ids, test_ids: (n,) and (m,) text.
        targets: (n,) int8, 1 for a signal.
        folds: (n,) the fold whose networks never saw the row.
        out_of_fold: (n, models) float32 logits.
        test: (folds, m, models) float32 logits.
    """

    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    train_ids: np.ndarray
    test_ids: np.ndarray
    targets: np.ndarray
    folds: np.ndarray
    out_of_fold: np.ndarray
    test: np.ndarray

    @property
    def num_folds(self) -> int:
        return len(self.test)

    def rows(self, fold: int) -> np.ndarray:
        """Return the positions of the rows that `fold` was validated on."""
        return np.flatnonzero(self.folds == fold)

    def without(self, name: str) -> StackData:
        """Return the same data with one model left out."""
        kept = [i for i, other in enumerate(self.names) if other != name]
        return replace(
            self,
            names=tuple(self.names[i] for i in kept),
            suffixes=tuple(self.suffixes[i] for i in kept),
            out_of_fold=self.out_of_fold[:, kept],
            test=self.test[..., kept],
        )


# --- which runs ------------------------------------------------------------------------------


def find_runs(
    results: Path, experiments: Sequence[str], finals: Sequence[FinalExperiment]
) -> list[Path]:
    """Return the folders to stack, those of the published stack first and in its order.

    Without `experiments` they are the runs of the published stack that are there or, where there
    is none of them, all runs but that of `train.py --dry_run`.

    Args:
        experiments: names of folders or of config classes.

    Raises:
        UserError: there is no such folder, or none with predictions.
    """
    if not results.is_dir():
        raise UserError(f"{results} is not a folder: train an experiment first, or name --results")
    there = sorted(
        folder.name
        for folder in results.iterdir()
        if folder.is_dir() and (has_predictions(folder) or has_predictions(folder, "_tta"))
    )
    columns = {final.name: final.column for final in finals}
    if experiments:
        names = list(dict.fromkeys(folder_name(name) for name in experiments))
        for name in names:
            if not (results / name).is_dir():
                raise UserError(
                    f"--experiments {name}: there is no folder {results / name}"
                    f"{nearest(name, there)}: train it first"
                )
    else:
        names = [name for name in there if name in columns]
        others = [name for name in there if name not in columns and name != DRY_RUN]
        if names and others:
            LOGGER.info(
                f"left out, as they are not of the published stack: {', '.join(others)} "
                f"(--experiments names any runs)"
            )
        names = names or others
        if not names:
            raise UserError(
                f"{results} holds no run with outoffolds.npy and predictions.npy: train an "
                f"experiment first, or name another folder with --results"
            )
    names.sort(key=lambda name: (columns.get(name, len(columns)), name))
    return [results / name for name in names]


def folder_name(experiment: str) -> str:
    """Return the folder of a config class; any other name is a folder's already."""
    from configuration.rules import ConfigMeta

    config = ConfigMeta.registry.get(experiment)
    return experiment if config is None else config.name


def read_runs(folders: Sequence[Path], tta: bool = True) -> list[Predictions]:
    """Read the runs, each averaged over the test-time views where it has such logits.

    Args:
        tta: False reads the logits of the plain view throughout.

    Raises:
        UserError: an array is missing, does not fit or lacks a fold.
    """
    runs = []
    for folder in folders:
        suffix = "_tta" if tta and has_predictions(folder, "_tta") else ""
        run = read_predictions(folder, suffix)
        run.check_complete("its folds may still be training; or leave it out with --experiments")
        if suffix and made_of_something_else(folder):
            raise UserError(
                f"{folder}: predictions_tta.npy was made from other weights or settings than "
                f"predictions.npy: predict again with --inference --tta, or stack with --no_tta"
            )
        runs.append(run)
    return runs


def made_of_something_else(folder: Path) -> bool:
    """Whether the views' logits were made of other networks, settings or samples than the plain."""
    stamps = [folder / f"predictions{suffix}.json" for suffix in ("", "_tta")]
    if not all(stamp.exists() for stamp in stamps):
        return False
    plain, tta = ({**read_json(stamp), "views": None} for stamp in stamps)
    return plain != tta


# --- joining them ----------------------------------------------------------------------------


def join(runs: Sequence[Predictions], targets: np.ndarray) -> StackData:
    """Join runs that predict the same samples in the same folds, in the first run's order.

    Args:
        targets: (n,) zeros and ones, of the first run's `train_ids`.

    Raises:
        UserError: a run has other samples or folds, named with the first that differs; or a fold
            lacks a class, so that it has no score.
    """
    first = runs[0]
    for split in ("train", "test"):
        check_unique(getattr(first, f"{split}_ids"), first.folder / f"ids_{split}.npy")
    out_of_fold = np.empty((len(first.train_ids), len(runs)), np.float32)
    test = np.empty((*first.logits.shape, len(runs)), np.float32)  # (folds, m, models)
    for column, run in enumerate(runs):
        train, tests = (match(run, first, split) for split in ("train", "test"))
        check_folds(run, train, first)
        out_of_fold[:, column] = run.out_of_fold[train]
        test[..., column] = run.logits[:, tests]
    for fold in range(len(test)):
        chosen = targets[first.folds == fold]
        if len(set(chosen.tolist())) < 2:
            raise UserError(
                f"fold {fold} of {first.folder} has {len(chosen)} samples of one class or none: "
                f"its AUC is undefined, so split with both classes in every fold"
            )
    return StackData(
        tuple(run.name for run in runs),
        tuple(run.suffix for run in runs),
        first.train_ids,
        first.test_ids,
        targets.astype(np.int8),
        first.folds,
        out_of_fold,
        test,
    )


def check_unique(ids: np.ndarray, path: Path) -> None:
    if len(np.unique(ids)) == len(ids):
        return
    twice = next(name for name, count in Counter(ids.tolist()).items() if count > 1)
    raise UserError(
        f"{path} holds {twice!r} twice: rows cannot be told apart, so make the table that it "
        f"came from again with prep_data.py and predict anew"
    )


def match(run: Predictions, first: Predictions, split: str) -> np.ndarray:
    """Return the rows of `run` in the order of `first`, for 'train' or 'test' samples."""
    ids, wanted = getattr(run, f"{split}_ids"), getattr(first, f"{split}_ids")
    if np.array_equal(ids, wanted):
        return np.arange(len(wanted))
    advice = "stack runs of the same data only, named with --experiments"
    if len(ids) != len(wanted):
        raise UserError(
            f"{run.folder} has {len(ids)} {split} samples and {first.folder} has {len(wanted)}: "
            f"{advice}"
        )
    check_unique(ids, run.folder / f"ids_{split}.npy")
    try:
        return align(ids, wanted, str(run.folder))
    except UserError as error:
        raise UserError(f"{error} than {first.folder}: {advice}") from error


def check_folds(run: Predictions, rows: np.ndarray, first: Predictions) -> None:
    """Refuse a run whose rows were validated in other folds than the first run's.

    A held-out row must have been unseen by every model in the same fold, or a stack fitted on
    the other folds has met it through the models' eyes.
    """
    advice = "train all with the same cv and splitter, or leave one of them out with --experiments"
    if len(run.logits) != len(first.logits):
        raise UserError(
            f"{run.folder} has {len(run.logits)} folds and {first.folder} has "
            f"{len(first.logits)}: {advice}"
        )
    other = run.folds[rows] != first.folds
    if other.any():
        row = int(other.argmax())
        raise UserError(
            f"{run.folder} validated {first.train_ids[row]!s} in fold {run.folds[rows][row]} and "
            f"{first.folder} in fold {first.folds[row]} ({int(other.sum())} samples differ): "
            f"{advice}"
        )


# --- targets, truth and submission -----------------------------------------------------------


def named_tables(folders: Sequence[Path], key: str) -> dict[Path, Path]:
    """Return the tables that the runs' config.json name as `key`, with the first run of each."""
    named: dict[Path, Path] = {}
    for folder in folders:
        path = folder / "config.json"
        if path.exists() and (value := read_json(path).get(key)) is not None:
            named.setdefault(Path(value), folder)
    return named


def train_table(folders: Sequence[Path]) -> Path:
    """Return the table of training samples that all runs agree on.

    Raises:
        UserError: no config.json names one, or they name different ones.
    """
    named = list(named_tables(folders, "train_path").items())
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
    """Return the ids (m,) in the order of sample_submission.csv, or as they are without one.

    Args:
        sample: the file; None looks for one beside the test table `beside`.

    Raises:
        UserError: the file is of other samples.
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


def write_submission(path: Path, table: pd.DataFrame) -> None:
    """Write a table (id, target) as Kaggle wants it, whole or not at all.

    Raises:
        UserError: a target is not finite.
    """
    bad = ~np.isfinite(table["target"].to_numpy())
    if bad.any():
        raise UserError(
            f"the stack gives {table['id'].iloc[bad.argmax()]} no finite target, so {path} is not "
            f"written: choose another --method"
        )
    with atomic_path(path) as temporary:
        table[["id", "target"]].to_csv(temporary, index=False)
