"""The stamp of logits, predictions<suffix>.json: which weights, samples and settings they are of.

fold_record.py lists its keys. Stamps of earlier versions have no digests; they record the path,
the size and the time of change of each weights file instead, and are compared by these.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.npy_files import load_array
from experiments.run_records import read_fold_state
from runtime.errors import UserError
from runtime.files import read_json_object


def samples_digest(train_ids: np.ndarray, test_ids: np.ndarray, folds: np.ndarray) -> str:
    """Return a digest of the ids of a run's samples, their order and their folds."""
    content = hashlib.sha256()
    for ids in (train_ids, test_ids):
        content.update("\n".join(ids.tolist()).encode() + b"\0")
    # in one byte order and size, on every machine
    content.update(np.ascontiguousarray(folds, "<i8"))
    return content.hexdigest()


def has_predictions(folder: str | os.PathLike[str], suffix: str = "") -> bool:
    """Whether a run directory holds both arrays."""
    return all(
        (Path(folder) / f"{kind}{suffix}.npy").is_file() for kind in ("outoffolds", "predictions")
    )


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
    types |= {"seeds": dict}
    types |= {"strain": (dict, type(None)), "labelled": (str, type(None))}
    stamp = read_json_object(path, types, anew, required=("views",))
    if "folds" not in stamp and "weights" not in stamp:
        raise UserError(f"{path} does not say of which weights its logits are: {anew}")
    if not all(isinstance(view, str) for view in stamp["views"]):
        raise UserError(f"{path} has views that are no names: {anew}")
    for fold, entry in stamp.get("folds", {}).items():
        if not fold.isdecimal() or not isinstance(entry, dict):
            raise UserError(f"{path} has no object for fold {fold!r}: {anew}")
    for fold, entry in stamp.get("weights", {}).items():  # without digests: path, size, date
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
        count = len(load_array(folder / f"predictions{suffix}.npy"))
        reason = f"{stamp_path} is missing, so it is not known which weights they are of"
        found |= dict.fromkeys(range(count), reason)
    stamp = read_stamp(folder, suffix)
    predicted, earlier = stamp.get("folds", {}), stamp.get("weights")
    for path in sorted(folder.glob("fold*.json")):
        # Other files may begin with "fold" as well.
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
    found |= changed_seeds(folder, suffix, stamp)
    for fold, entry in predicted.items():
        if not entry.get("finished", True):
            found[int(fold)] = f"{stamp_path} marks it as unfinished, at epoch {entry.get('epoch')}"
    return dict(sorted(found.items()))


def predicted_identity(stamp: Mapping[str, Any]) -> str:
    """Return a digest of what logits are of, from the content of their predictions.json.

    As in `are_of_the_same_networks`, paths and the text of the config play no part.
    """
    weights = {fold: entry.get("weights") for fold, entry in stamp.get("folds", {}).items()}
    kept = {key: stamp.get(key) for key in ("samples", "labelled", "strain", "settings", "views")}
    # `weights` itself stands in for networks that are named without their folds
    plain = json.dumps([weights, kept, stamp.get("weights")], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def changed_seeds(folder: Path, suffix: str, stamp: Mapping[str, Any]) -> dict[int, str]:
    """Return {fold: reason} where the mean over seeds is not that of their predictions now.

    Args:
        folder: of a run, with or without seeds.
        stamp: the content of its predictions<suffix>.json.
    """
    found: dict[int, str] = {}
    seeds = stamp.get("seeds")
    for seed, identity in seeds.items() if isinstance(seeds, Mapping) else ():
        of_seed = folder / f"seed{seed}"
        if not of_seed.is_dir():
            continue  # a mean alone may be kept, as predictions without weights may
        reasons = unfinished_predictions(of_seed, suffix)
        if predicted_identity(read_stamp(of_seed, suffix)) != identity:
            changed = f"{of_seed} was predicted again, or trained further, after the mean was taken"
            reasons |= {int(fold): changed for fold in stamp["folds"]}
        found |= reasons
    return found


def is_file_of_earlier_stamp(weights: Path, entry: Any) -> bool:
    """Whether a weights file has the size and the time that an earlier version recorded of it.

    Args:
        weights: the file, where it lies now.
        entry: [path, bytes, time of change in ns], as predictions.json without digests has it. An
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

    Paths, views and the text of the config play no part. A content without digests is compared
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
    """Return the weights and samples that a predictions.json without digests records.

    It gives [path, bytes, time of change] of each weights file. The folder may be written in
    several ways, so only the name of the file counts.
    """
    weights = stamp.get("weights")
    files = {
        fold: (Path(str(path)).name, *rest)
        for fold, (path, *rest) in (weights.items() if isinstance(weights, dict) else ())
    }
    return files, stamp.get("samples")
