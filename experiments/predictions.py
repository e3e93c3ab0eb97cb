"""The logits of a run, with the samples and folds they belong to: written, read and checked.

In `results/<name>/` are

    ids_train.npy, ids_test.npy  (n,) and (m,) text, the samples of the rows below
    folds.npy                    (n,) int64, the fold whose network never saw the row in training;
                                 -1 where there is none, as with a hold-out: see partial_splits.py
    outoffolds.npy               (n, outputs) float32, each from that fold's network: one logit, or
                                 what `Config.targets` and `Config.side_targets` say
    predictions.npy              (folds, m, outputs) float32 of the test samples
    predictions.json             what both were made from; its keys are listed in fold_record.py
    outoffolds_tta.npy, predictions_tta.npy, predictions_tta.json
                                 the same, averaged over the test-time views

Pseudo-labels, stacking and the report align runs by sample id, never by position. The logits of a
fold that has not been trained are NaN.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.npy_files import load_array
from experiments.prediction_stamp import read_stamp, samples_digest, unfinished_predictions
from experiments.run_records import NOT_VALIDATED
from runtime.errors import UserError
from runtime.files import read_json_object

if TYPE_CHECKING:
    import pandas as pd


# Arrays that lie there are replaced with --overwrite only, which moves them aside.
PREDICT_AGAIN = "predict again with --inference --overwrite"


@dataclass(frozen=True)
class Predictions:
    """The logits of one run; of several outputs the log-odds of the one that is a signal.

    Attributes:
        folder: where they lie; its name is the run's.
        suffix: '' or '_tta'.
        train_ids, test_ids: (n,) and (m,) text.
        folds: (n,) the fold that a training row was validated in.
        out_of_fold: (n,) float32 logits.
        logits: (folds, m) float32 logits of the test samples.
        unfinished: the folds whose training had not ended, each with the reason.
    """

    folder: Path
    suffix: str
    train_ids: np.ndarray
    test_ids: np.ndarray
    folds: np.ndarray
    out_of_fold: np.ndarray
    logits: np.ndarray
    unfinished: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def missing_folds(self) -> list[int]:
        """The folds with a NaN or infinite logit: folds that were never trained have only NaN."""
        of_test = np.isfinite(self.logits).all(1)
        bad = set(np.flatnonzero(~of_test).tolist())
        bad |= set(self.folds[~np.isfinite(self.out_of_fold)].tolist())
        return sorted(bad - {NOT_VALIDATED})

    @property
    def validated(self) -> np.ndarray:
        """(n,) bool, the training rows that a fold validates: all, unless the split is partial."""
        return self.folds != NOT_VALIDATED

    def check_complete(self, what_to_do: str, allow_unfinished: bool = False) -> None:
        """Refuse a run that lacks folds, or whose folds were still being trained.

        Args:
            what_to_do: the end of the message.
            allow_unfinished: accept logits of folds whose training had not ended; folds without
                logits are refused all the same.

        Raises:
            UserError: a fold has no finite logits, or is unfinished.
        """
        if self.missing_folds:
            named = ", ".join(map(str, self.missing_folds))
            raise UserError(
                f"{self.folder} has no finite logits of fold {named}: train and predict with all "
                f"{len(self.logits)} folds first: {what_to_do}"
            )
        if self.unfinished and not allow_unfinished:
            fold, reason = next(iter(self.unfinished.items()))
            raise UserError(
                f"{self.folder}: the logits of fold {fold} are not those of a finished training "
                f"({reason}): {what_to_do}; or accept them with --allow_unfinished"
            )


def read_predictions(folder: str | os.PathLike[str], suffix: str = "") -> Predictions:
    """Read the logits of a run and check that its files fit together.

    Args:
        suffix: '' or '_tta'.

    Raises:
        UserError: a file is missing, damaged or does not fit the others; or no output of the run
            is said to be a signal.
    """
    folder = Path(folder)
    # Imported here, as it takes torch with it, and the command lines import this file first.
    from experiments.targets import outputs_from_record

    recorded = folder / "config.json"
    plain = read_json_object(recorded) if recorded.exists() else {}
    outputs = outputs_from_record(plain, str(recorded))
    width = outputs.width
    train_ids, test_ids = (load_array(folder / f"ids_{split}.npy") for split in ("train", "test"))
    for split, ids in (("train", train_ids), ("test", test_ids)):
        if ids.ndim != 1 or ids.dtype.kind != "U":
            raise UserError(
                f"{folder / f'ids_{split}.npy'} has shape {ids.shape} and type {ids.dtype}, "
                f"expected a list of ids: {PREDICT_AGAIN}"
            )
    folds = load_array(folder / "folds.npy")
    out_of_fold = load_array(folder / f"outoffolds{suffix}.npy")
    logits = load_array(folder / f"predictions{suffix}.npy")
    n, m = len(train_ids), len(test_ids)
    # A run that was killed between two files may have left arrays of different samples.
    made_of = read_stamp(folder, suffix).get("samples")
    if made_of is not None and made_of != samples_digest(train_ids, test_ids, folds):
        raise UserError(
            f"{folder / 'predictions'}{suffix}.npy was made from other samples or folds than those "
            f"of the ids beside it: {PREDICT_AGAIN}{' --tta' if suffix else ''}"
        )
    for name, array, fits in (
        (f"outoffolds{suffix}.npy", out_of_fold, out_of_fold.shape == (n, width)),
        (f"predictions{suffix}.npy", logits, logits.ndim == 3 and logits.shape[1:] == (m, width)),
        ("folds.npy", folds, folds.shape == (n,) and folds.dtype.kind == "i"),
    ):
        if not fits:
            raise UserError(
                f"{folder / name} has shape {array.shape} and type {array.dtype}, which does not "
                f"fit the {n} training and {m} test ids beside it: {PREDICT_AGAIN}"
            )
    for name, array in (("outoffolds", out_of_fold), ("predictions", logits)):
        if array.dtype.kind != "f":
            raise UserError(f"{folder / name}{suffix}.npy holds {array.dtype}, expected logits")
    if n and folds.min() < NOT_VALIDATED:
        raise UserError(f"{folder / 'folds.npy'} holds {folds.min()}, no fold: {PREDICT_AGAIN}")
    if n and folds.max() >= len(logits):
        raise UserError(
            f"{folder / 'folds.npy'} counts to {folds.max()} and predictions{suffix}.npy has "
            f"{len(logits)} folds: {PREDICT_AGAIN}"
        )
    return Predictions(
        folder,
        suffix,
        train_ids,
        test_ids,
        folds,
        # (n, outputs) -> (n,); (folds, m, outputs) -> (folds, m)
        outputs.signal_logits(out_of_fold, str(folder)),
        outputs.signal_logits(logits, str(folder)),
        unfinished_predictions(folder, suffix),
    )


def align(ids: np.ndarray, wanted: np.ndarray, where: str) -> np.ndarray:
    """Return the position (len(wanted),) in `ids` of every wanted id.

    Raises:
        UserError: `ids` lacks one of them.
    """
    # By sorting: n log n, where a comparison of all pairs of 560,000 ids is out of the question.
    order = np.argsort(ids)
    place = np.searchsorted(ids, wanted, sorter=order)
    # an id beyond the last is placed at len(ids), which would be no index
    found = order[np.minimum(place, len(ids) - 1)] if len(ids) else place
    absent = ids[found] != wanted if len(ids) else np.ones(len(wanted), bool)
    if absent.any():
        raise UserError(
            f"{where} lacks {int(absent.sum())} of {len(wanted)} samples, the first "
            f"{str(wanted[absent.argmax()])!r}: it was made from other data"
        )
    return found


def align_table(table: pd.DataFrame, ids: np.ndarray, where: str) -> pd.DataFrame:
    """Return the rows of a table (id, ...) in the order of `ids`.

    Raises:
        UserError: it lacks one.
    """
    place = align(table["id"].to_numpy(dtype=str), ids, where)
    return table.iloc[place].reset_index(drop=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    from scipy.special import expit

    return expit(logits)
