"""The logits of a run, with the samples and folds they belong to: written, read and checked.

In `results/<name>/` are

    ids_train.npy, ids_test.npy  (n,) and (m,) text, the samples of the rows below
    folds.npy                    (n,) int64, the fold whose network never saw the row in training
    outoffolds.npy               (n, 1) float32 logits, each from that fold's network
    predictions.npy              (folds, m, 1) float32 logits of the test samples
    predictions.json             what both were made from; its keys are listed in fold_record.py
    outoffolds_tta.npy, predictions_tta.npy, predictions_tta.json
                                 the same, averaged over the test-time views

Pseudo-labels, stacking and the report align runs by sample id, never by position. The logits of a
fold that has not been trained are NaN.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from experiments.run_records import read_fold_state
from runtime.errors import UserError
from runtime.files import atomic_path, read_json_object

if TYPE_CHECKING:
    import pandas as pd


# Arrays that lie there are replaced with --overwrite only, which moves them aside.
PREDICT_AGAIN = "predict again with --inference --overwrite"


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
        return sorted(bad)

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
        UserError: a file is missing, damaged or does not fit the others.
    """
    folder = Path(folder)
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
    made_of = read_stamp(folder, suffix).get("samples")
    if made_of is not None and made_of != samples_digest(train_ids, test_ids, folds):
        raise UserError(
            f"{folder / 'predictions'}{suffix}.npy was made from other samples or folds than those "
            f"of the ids beside it: {PREDICT_AGAIN}{' --tta' if suffix else ''}"
        )
    for name, array, fits in (
        (f"outoffolds{suffix}.npy", out_of_fold, out_of_fold.shape == (n, 1)),
        (f"predictions{suffix}.npy", logits, logits.ndim == 3 and logits.shape[1:] == (m, 1)),
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
    if n and not 0 <= folds.min() <= folds.max() < len(logits):
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
        out_of_fold[:, 0],
        logits[..., 0],  # (n, 1) -> (n,); (folds, m, 1) -> (folds, m)
        unfinished_predictions(folder, suffix),
    )


def samples_digest(train_ids: np.ndarray, test_ids: np.ndarray, folds: np.ndarray) -> str:
    """Return a digest of the ids of a run's samples, their order and their folds."""
    content = hashlib.sha256()
    for ids in (train_ids, test_ids):
        content.update("\n".join(ids.tolist()).encode() + b"\0")
    content.update(np.ascontiguousarray(folds, "<i8"))
    return content.hexdigest()


def has_predictions(folder: str | os.PathLike[str], suffix: str = "") -> bool:
    """Whether a run directory holds both arrays."""
    return all(
        (Path(folder) / f"{kind}{suffix}.npy").is_file() for kind in ("outoffolds", "predictions")
    )


def align(ids: np.ndarray, wanted: np.ndarray, where: str) -> np.ndarray:
    """Return the position (len(wanted),) in `ids` of every wanted id.

    Raises:
        UserError: `ids` lacks one of them.
    """
    order = np.argsort(ids)
    place = np.searchsorted(ids, wanted, sorter=order)
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


# --- what the logits were made from ----------------------------------------------------------


def read_stamp(folder: Path, suffix: str = "") -> dict[str, Any]:
    """Return what predictions<suffix>.json records; {} if the file is missing.

    Raises:
        UserError: it is damaged.
    """
    path = folder / f"predictions{suffix}.json"
    if not path.exists():
        return {}
    anew = (
        f"restore it, or predict with --inference --overwrite{' --tta' if suffix else ''}, which "
        f"moves it aside with its arrays"
    )
    types = {"views": list, "folds": dict, "weights": dict, "samples": str}
    types |= {"strain": (dict, type(None)), "labelled": (str, type(None))}
    stamp = read_json_object(path, types, anew, required=("views",))
    if "folds" not in stamp and "weights" not in stamp:
        raise UserError(f"{path} does not say of which weights its logits are: {anew}")
    if not all(isinstance(view, str) for view in stamp["views"]):
        raise UserError(f"{path} has views that are no names: {anew}")
    for fold, entry in stamp.get("folds", {}).items():
        if not fold.isdecimal() or not isinstance(entry, dict):
            raise UserError(f"{path} has no object for fold {fold!r}: {anew}")
    for fold, entry in stamp.get("weights", {}).items():  # of before digests: path, size, date
        if not fold.isdecimal() or not isinstance(entry, list) or len(entry) != 3:
            raise UserError(f"{path} has no path, size and date for fold {fold!r}: {anew}")
    return stamp


def is_stamp_lost(folder: Path, suffix: str = "") -> bool:
    """Whether predictions<suffix>.json is missing beside logits that this toolkit made.

    Every start writes run.json or the files of a fold, and every prediction ends with
    predictions<suffix>.json. A folder with the former and without the latter was killed while it
    predicted, or has lost the file. Bare arrays of another origin have none of these files.
    """
    if not has_predictions(folder, suffix) or (folder / f"predictions{suffix}.json").exists():
        return False
    return (folder / "run.json").exists() or any(folder.glob("fold[0-9]*"))


def unfinished_predictions(folder: Path, suffix: str = "") -> dict[int, str]:
    """Return {fold: reason} for the folds whose logits do not count as finished.

    predictions<suffix>.json says whether the weights that the logits were made from were finished.
    fold<k>.json beside it tells whether the fold was trained further since: its weights then have
    another digest. Without predictions<suffix>.json nobody knows which weights the logits are of.

    Raises:
        UserError: a file is missing or damaged.
    """
    stamp_path = folder / f"predictions{suffix}.json"
    found: dict[int, str] = {}
    if is_stamp_lost(folder, suffix):
        count = int(load_array(folder / "folds.npy").max(initial=-1)) + 1
        reason = f"{stamp_path} is missing, so it is not known which weights they are of"
        found |= dict.fromkeys(range(count), reason)
    stamp = read_stamp(folder, suffix)
    predicted, earlier = stamp.get("folds", {}), stamp.get("weights")
    for path in sorted(folder.glob("fold*.json")):
        if not path.stem[4:].isdecimal():
            continue
        fold, state = int(path.stem[4:]), read_fold_state(path)
        if not predicted and not state.get("finished"):
            found[fold] = f"{path} does not say that its training has ended"
        elif isinstance(earlier, dict):
            # Versions that wrote stamps without digests left none in the fold's record either.
            retrained = bool(state.get("weights")) and str(fold) in earlier
            if retrained and not is_file_of_earlier_stamp(
                path.with_suffix(".pt"), earlier[str(fold)]
            ):
                found[fold] = f"it was trained further or again after {stamp_path} was written"
        else:
            of_logits = predicted.get(str(fold), {})
            digests = (of_logits.get("weights"), state.get("weights"))
            # Logits made with the weights of another run (`weight_path`) rightly have others.
            if of_logits.get("own") and None not in digests and digests[0] != digests[1]:
                found[fold] = f"it was trained further or again after {stamp_path} was written"
    for fold, entry in predicted.items():
        if not entry.get("finished", True):
            found[int(fold)] = f"{stamp_path} marks it as unfinished, at epoch {entry.get('epoch')}"
    return dict(sorted(found.items()))


def is_file_of_earlier_stamp(weights: Path, entry: Any) -> bool:
    """Whether a weights file has the size and the time that an earlier version recorded of it.

    Args:
        weights: the file, where it lies now.
        entry: [path, bytes, time of change in ns], as predictions.json had it before digests. An
            entry of another run's weights (`weight_path`) tells nothing of this file.
    """
    if not isinstance(entry, list) or len(entry) != 3:
        return False
    path, *recorded = entry
    if Path(str(path)).parent.name != weights.parent.name:
        return True
    if not weights.is_file():
        return False
    stat = weights.stat()
    return [stat.st_size, stat.st_mtime_ns] == recorded


def are_of_the_same_networks(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two contents of predictions.json are of the same weights, settings and samples.

    Paths, views and the text of the config play no part. A content from before digests is compared
    by its files of weights, and never equals one with digests: inference adds them to it.
    """
    if "folds" not in one or "folds" not in two:
        return earlier_identity(one) == earlier_identity(two)

    def identity(stamp: Mapping[str, Any]) -> tuple:
        weights = {fold: entry.get("weights") for fold, entry in stamp["folds"].items()}
        return weights, stamp.get("samples"), stamp.get("settings")

    # With the targets; None or missing: of logits made before they were recorded
    labelled = {stamp.get("labelled") for stamp in (one, two)} - {None}
    same = identity(one) == identity(two) and len(labelled) < 2
    return same and has_same_strain(one, two)


def has_same_strain(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether two contents of predictions.json agree in all samples whose strain both digest.

    Older ones digest fewer samples of a table. None stands in those of logits that were made before
    any strain was recorded: nobody knows what theirs was.
    """
    first, second = one.get("strain", {}), two.get("strain", {})
    if first is None or second is None:
        return True
    if first.keys() != second.keys():
        return False
    for split in first:
        common = first[split].keys() & second[split].keys()
        if not common and (first[split] or second[split]):
            return False
        if any(first[split][name] != second[split][name] for name in common):
            return False
    return True


def earlier_identity(stamp: Mapping[str, Any]) -> tuple:
    """Return what a predictions.json from before digests says of its weights and samples.

    It gives [path, bytes, time of change] of each weights file. The folder may be written in
    several ways, so only the name of the file counts.
    """
    weights = stamp.get("weights")
    files = {
        fold: (Path(str(path)).name, *rest)
        for fold, (path, *rest) in (weights.items() if isinstance(weights, dict) else ())
    }
    return files, stamp.get("samples")


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


def check_array_size(file: BinaryIO) -> None:
    """Check that a `.npy` file has as many bytes as its header says; return to its beginning.

    numpy allocates what the header asks for. A header of 128 bytes may ask for terabytes, or for
    a billion texts of no characters, which take no bytes in the file and gigabytes in memory.

    Raises:
        ValueError: the file has more or fewer bytes, or its elements have none.
    """
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"npy format {version}")
    shape, _, dtype = read_header(file)
    size = os.fstat(file.fileno()).st_size
    if not dtype.hasobject:  # refused by read_array
        count = math.prod(shape)
        if count and dtype.itemsize == 0:
            raise ValueError("elements of no bytes")
        if count * dtype.itemsize != size - file.tell():
            raise ValueError("another size than the header says")
    file.seek(0)


def load_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an array without running code and without allocating more than the file holds.

    Raises:
        UserError: it is missing, damaged, or holds Python objects.
    """
    try:
        # Not np.load, which takes zip files as well.
        with open(path, "rb") as file:
            check_array_size(file)
            return np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run the experiment that writes it") from error
    except MemoryError as error:  # a damaged header may claim any size
        raise UserError(f"{path} does not fit into memory: make it again") from error
    # What a damaged header raises depends on where it is damaged.
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, TokenError) as error:
        raise UserError(f"{path} is not a plain numpy array: make it again") from error
