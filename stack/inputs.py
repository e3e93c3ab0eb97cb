"""The joined logits of several runs.

Rows are joined by sample id and never by position. A run with other samples or other folds than
the first run is refused by name: a stack of it would be wrong without looking wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.predictions import Predictions, align
from runtime.errors import UserError
from stack.members import FinalExperiment


@dataclass(frozen=True)
class StackData:
    """The joined logits of several runs. Each model is one column, in the order of `names`.

    Attributes:
        names: (models,) the runs' names.
        suffixes: (models,) '_tta' if the logits are averaged over the test-time views, else ''.
        train_ids, test_ids: (n,) and (m,) text.
        targets: (n,) int8, 1 for a signal.
        folds: (n,) the fold in which the row was validated: its network was not trained on it.
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
        """Return the positions of the validation rows of `fold`."""
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


def list_members(data: StackData, finals: Sequence[FinalExperiment]) -> str:
    """Return a sentence: which runs are joined, and which of the final experiments are missing."""
    named = [
        name + (" (tta)" if suffix else "")
        for name, suffix in zip(data.names, data.suffixes, strict=True)
    ]
    missing = [f"{final.name} ({final.config})" for final in finals if final.name not in data.names]
    text = (
        f"{len(named)} models: {', '.join(named)}; {len(data.train_ids)} training and "
        f"{len(data.test_ids)} test samples, {data.num_folds} folds."
    )
    if len(missing) == len(finals):
        text += f" None of the {len(finals)} final experiments is among them."
    elif missing:
        text += (
            f" Of the {len(finals)} final experiments {len(missing)} are missing: "
            f"{', '.join(missing)}."
        )
    return text


def join_runs(runs: Sequence[Predictions], targets: np.ndarray) -> StackData:
    """Join runs with the same samples and folds; the rows are in the order of the first run.

    Args:
        targets: (n,) zeros and ones, of the first run's `train_ids`.

    Raises:
        UserError: a run has other samples or folds (the message names the first that differs), or
            a fold lacks a class, so that its AUC is undefined.
    """
    first = runs[0]
    for split in ("train", "test"):
        check_ids_unique(getattr(first, f"{split}_ids"), first.folder / f"ids_{split}.npy")
    out_of_fold = np.empty((len(first.train_ids), len(runs)), np.float32)
    test = np.empty((*first.logits.shape, len(runs)), np.float32)  # (folds, m, models)
    for column, run in enumerate(runs):
        train, tests = (match_rows(run, first, split) for split in ("train", "test"))
        # after the ids, which give the order to compare the folds in
        check_same_folds(run, train, first)
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
        # zeros and ones, checked when the table was read
        targets.astype(np.int8),
        first.folds,
        out_of_fold,
        test,
    )


def check_ids_unique(ids: np.ndarray, path: Path) -> None:
    """Raise UserError if an id occurs twice."""
    if len(np.unique(ids)) == len(ids):
        return
    twice = next(name for name, count in Counter(ids.tolist()).items() if count > 1)
    raise UserError(
        f"{path} holds {twice!r} twice: rows cannot be told apart, so make the table that it "
        f"came from again with prep_data.py and predict again"
    )


def match_rows(run: Predictions, first: Predictions, split: str) -> np.ndarray:
    """Return the rows of `run` in the order of `first`, for 'train' or 'test' samples."""
    ids, wanted = getattr(run, f"{split}_ids"), getattr(first, f"{split}_ids")
    # the usual case, without sorting half a million ids
    if np.array_equal(ids, wanted):
        return np.arange(len(wanted))
    advice = "stack runs of the same data only, named with --experiments"
    if len(ids) != len(wanted):
        raise UserError(
            f"{run.folder} has {len(ids)} {split} samples and {first.folder} has {len(wanted)}: "
            f"{advice}"
        )
    # Of equal length and unique: if all wanted ids are there, there are no others.
    check_ids_unique(ids, run.folder / f"ids_{split}.npy")
    try:
        return align(ids, wanted, str(run.folder))
    except UserError as error:
        raise UserError(f"{error} than {first.folder}: {advice}") from error


def check_same_folds(run: Predictions, rows: np.ndarray, first: Predictions) -> None:
    """Raise UserError if the rows of `run` were validated in other folds than those of `first`.

    Suppose row i is held out in fold 0 of the first run and in fold 1 of the other. The other
    run's network of fold 0 was trained on it, and its logits are among those that the stack of
    fold 0 is fitted on: the held-out score would be optimistic.
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
