"""The logits a run leaves, with the samples and folds they belong to: written, read, checked.

In `results/<name>/` lie

    ids_train.npy, ids_test.npy  (n,) and (m,) text, the samples of the rows below
    folds.npy                    (n,) int64, the fold whose network never saw the row in training
    outoffolds.npy               (n, 1) float32 logits, each from that fold's network
    predictions.npy              (folds, m, 1) float32 logits of the test samples
    predictions.json             what both were made from, the samples and folds among it
    outoffolds_tta.npy, predictions_tta.npy, predictions_tta.json
                                 the same, averaged over the test-time views

so that whoever joins runs (pseudo-labels, stacking, the report) aligns them by id and never by
position. A fold that has not been trained is NaN.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

import numpy as np

from runtime.errors import UserError
from runtime.files import atomic_path, read_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predictions:
    """The logits of one run.

    Attributes:
        folder: where they lie; its name is the run's.
        suffix: '' or '_tta'.
        train_ids, test_ids: (n,) and (m,) text.
        folds: (n,) the fold that a training row was validated in.
        out_of_fold: (n,) float32 logits.
        logits: (folds, m) float32 logits of the test samples.
    """

    folder: Path
    suffix: str
    train_ids: np.ndarray
    test_ids: np.ndarray
    folds: np.ndarray
    out_of_fold: np.ndarray
    logits: np.ndarray

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def missing_folds(self) -> list[int]:
        """Folds that have a NaN or infinite logit, as those have that were never trained."""
        of_test = np.isfinite(self.logits).all(1)
        bad = set(np.flatnonzero(~of_test).tolist())
        bad |= set(self.folds[~np.isfinite(self.out_of_fold)].tolist())
        return sorted(bad)

    def check_complete(self, what_to_do: str) -> None:
        """Raise a `UserError` that names the folds without predictions and `what_to_do`."""
        if self.missing_folds:
            named = ", ".join(map(str, self.missing_folds))
            raise UserError(
                f"{self.folder} has no finite logits of fold {named}: train and predict with all "
                f"{len(self.logits)} folds first: {what_to_do}"
            )


def read_predictions(folder: str | os.PathLike[str], suffix: str = "") -> Predictions:
    """Read a run's logits and see that they fit together.

    Args:
        suffix: '' or '_tta'.

    Raises:
        UserError: a file is missing, damaged or does not fit the others.
    """
    folder = Path(folder)
    train_ids, test_ids = (load_array(folder / f"ids_{split}.npy") for split in ("train", "test"))
    for split, ids in (("train", train_ids), ("test", test_ids)):
        if ids.ndim != 1 or ids.dtype.kind != "U":
            raise UserError(
                f"{folder / f'ids_{split}.npy'} has shape {ids.shape} and type {ids.dtype}, "
                f"expected a list of ids: predict again with --inference"
            )
    folds = load_array(folder / "folds.npy")
    out_of_fold = load_array(folder / f"outoffolds{suffix}.npy")
    logits = load_array(folder / f"predictions{suffix}.npy")
    n, m = len(train_ids), len(test_ids)
    stamp = folder / f"predictions{suffix}.json"
    made_of = read_json(stamp).get("samples") if stamp.exists() else None
    if made_of is not None and made_of != samples_digest(train_ids, test_ids, folds):
        raise UserError(
            f"{folder / 'predictions'}{suffix}.npy was made of other samples or folds than those "
            f"that lie beside it: predict again with --inference{' --tta' if suffix else ''}"
        )
    for name, array, fits in (
        (f"outoffolds{suffix}.npy", out_of_fold, out_of_fold.shape == (n, 1)),
        (f"predictions{suffix}.npy", logits, logits.ndim == 3 and logits.shape[1:] == (m, 1)),
        ("folds.npy", folds, folds.shape == (n,) and folds.dtype.kind == "i"),
    ):
        if not fits:
            raise UserError(
                f"{folder / name} has shape {array.shape} and type {array.dtype}, which does not "
                f"fit the {n} training and {m} test ids beside it: predict again with --inference"
            )
    for name, array in (("outoffolds", out_of_fold), ("predictions", logits)):
        if array.dtype.kind != "f":
            raise UserError(f"{folder / name}{suffix}.npy holds {array.dtype}, expected logits")
    if n and not 0 <= folds.min() <= folds.max() < len(logits):
        raise UserError(
            f"{folder / 'folds.npy'} counts to {folds.max()} and predictions{suffix}.npy has "
            f"{len(logits)} folds: predict again with --inference"
        )
    return Predictions(
        folder,
        suffix,
        train_ids,
        test_ids,
        folds,
        out_of_fold[:, 0],
        logits[..., 0],  # (n, 1) -> (n,); (folds, m, 1) -> (folds, m)
    )


def samples_digest(train_ids: np.ndarray, test_ids: np.ndarray, folds: np.ndarray) -> str:
    """Return a digest of the samples of a run, their order and their folds."""
    content = hashlib.sha256()
    for ids in (train_ids, test_ids):
        content.update("\n".join(ids.tolist()).encode() + b"\0")
    content.update(np.ascontiguousarray(folds, "<i8"))
    return content.hexdigest()


def has_predictions(folder: str | os.PathLike[str], suffix: str = "") -> bool:
    """Whether a run has left both arrays."""
    return all(
        (Path(folder) / f"{kind}{suffix}.npy").is_file() for kind in ("outoffolds", "predictions")
    )


def align(ids: np.ndarray, wanted: np.ndarray, where: str) -> np.ndarray:
    """Return the position (len(wanted),) in `ids` of every wanted id.

    Raises:
        UserError: one of them is not there.
    """
    order = np.argsort(ids)
    place = np.searchsorted(ids, wanted, sorter=order)
    found = order[np.minimum(place, len(ids) - 1)] if len(ids) else place
    absent = ids[found] != wanted if len(ids) else np.ones(len(wanted), bool)
    if absent.any():
        raise UserError(
            f"{where} lacks {int(absent.sum())} of {len(wanted)} samples, the first "
            f"{str(wanted[absent.argmax()])!r}: it was made of other data"
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


# --- arrays in files -------------------------------------------------------------------------


def save_array(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array whole or not at all.

    Raises:
        UserError: the disk is full.
    """
    # Through memory: numpy's own writer does not say that the disk is full.
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with atomic_path(path, size=len(buffer.getbuffer())) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an array without running code.

    Raises:
        UserError: it is missing, damaged or holds objects.
    """
    try:
        # Not np.load, which takes zip files as well.
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run the experiment that writes it") from error
    except MemoryError as error:  # a damaged header may claim any size
        raise UserError(f"{path} does not fit into memory: make it again") from error
    # What a damaged header raises depends on where it is damaged.
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, TokenError) as error:
        raise UserError(f"{path} is not a plain numpy array: make it again") from error
