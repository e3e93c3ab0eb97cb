"""Whether predictions that lie in a run directory are those that would be made now.

They are when their stamp, predictions<suffix>.json, names the same weights, samples, settings and
views. Whole predictions of anything else are never written over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configuration.config_class import ConfigMeta
from experiments.building import observation_of
from experiments.existing_run import ExistingRun
from experiments.fold_record import FoldRecord
from experiments.npy_files import load_array
from experiments.observation_record import plain_config
from experiments.prediction_stamp import are_of_the_same_networks, read_stamp, samples_digest
from experiments.prediction_weights import PREDICTION_SETTINGS, SampleTables
from experiments.run_identity import (
    changed_settings,
    deciding_settings,
    differing_sample,
    settings_digest,
    strain_digests,
)
from experiments.samples_learnt_from import LearntSamples
from experiments.targets import outputs_of
from runtime.errors import UserError
from runtime.files import write_json
from training import distributed


def make_stamp(
    existing: ExistingRun,
    tables: SampleTables,
    view_names: Sequence[str],
    records: Mapping[int, FoldRecord],
    learnt: Mapping[int, LearntSamples | None],
) -> dict[str, Any]:
    """Return the content of predictions.json: what the logits are of; see fold_record.py."""
    config, samples = existing.config, existing.samples
    folds = {}
    for fold, record in records.items():
        pseudo_ids = samples.train_ids[:0] if learnt[fold] is None else learnt[fold].all_pseudo_ids
        folds[str(fold)] = {
            "weights": record.digest,
            "finished": record.finished or not record.is_known,
            "epoch": record.epoch,
            "own": record.path.parent == existing.path,
            # Below results: the folder of all results may move.
            "file": f"{record.path.parent.name}/{record.path.name}",
            # Test samples that the network learnt from, with pseudo-labels.
            "pseudo_labelled_test_samples": int(np.isin(samples.test_ids, pseudo_ids).sum()),
        }
    plain, sampling = plain_config(config), observation_of(config).sampling
    decisive = {
        key: value for key, value in deciding_settings(plain).items() if key in PREDICTION_SETTINGS
    }
    return {
        "views": list(view_names),
        "folds": folds,
        "samples": samples_digest(samples.train_ids, samples.test_ids, samples.folds),
        "labelled": samples.labelled,
        "strain": {
            "train": strain_digests(tables.train, config.train_cache, sampling=sampling),
            "test": strain_digests(tables.test, config.test_cache, sampling=sampling),
        },
        "settings": settings_digest(decisive),
        "config": plain,
    }


def are_current(existing: ExistingRun, stamp: Mapping[str, Any], suffix: str) -> bool:
    """Whether logits of the same networks, views and samples are there, whole.

    Args:
        stamp: what would be predicted.
        suffix: '' or '_tta'.

    Raises:
        UserError: the record of what they are of is damaged.
    """
    if not existing.has(f"predictions{suffix}") or not arrays_fit(existing, suffix):
        return False
    before = read_stamp(existing.path, suffix)
    if before["views"] != stamp["views"]:
        return False
    return are_of_the_same_networks(before, stamp)


def arrays_fit(existing: ExistingRun, suffix: str) -> bool:
    """Whether both arrays can be read and have the shapes of this run; damaged ones do not."""
    try:
        out_of_fold = load_array(existing.path / f"outoffolds{suffix}.npy")
        logits = load_array(existing.path / f"predictions{suffix}.npy")
    except UserError:
        return False
    samples = existing.samples
    n, m, folds = len(samples.train_ids), len(samples.test_ids), existing.config.cv
    width = outputs_of(existing.config).width
    shapes = (out_of_fold.shape, logits.shape) == ((n, width), (folds, m, width))
    return shapes and out_of_fold.dtype.kind == logits.dtype.kind == "f"


def add_digests_to_earlier_stamps(
    config: ConfigMeta, folder: Path, stamp: Mapping[str, Any], records: Mapping[int, FoldRecord]
) -> None:
    """Add digests to stamps of earlier versions that are of the same networks as `stamp`.

    Without them the logits with and without test-time views could not be compared with each other
    if only one of the two was made by an earlier version.

    Args:
        stamp: what would be predicted now; its views play no part.
        records: of the folds in it.
    """
    for suffix in ("", "_tta"):
        before = read_stamp(folder, suffix)
        if is_earlier_stamp_of(before, config, stamp, records):
            kept = {key: before[key] for key in ("views", "config")}
            # Which strain and targets these logits were of was not recorded then.
            content = {**stamp, **kept, "strain": None, "labelled": None}
            if distributed.is_main():
                write_json(folder / f"predictions{suffix}.json", content)


def is_earlier_stamp_of(
    before: Mapping[str, Any],
    config: ConfigMeta,
    stamp: Mapping[str, Any],
    records: Mapping[int, FoldRecord],
) -> bool:
    """Whether a stamp without digests is of the weights, samples and settings of `stamp`.

    It has the path, the size and the time of change of each file of weights, and the config.
    """
    weights, settings = before.get("weights"), before.get("config")
    if "folds" in before or not isinstance(weights, dict) or not isinstance(settings, dict):
        return False
    if before.get("samples") != stamp["samples"] or weights.keys() != stamp["folds"].keys():
        return False
    if set(changed_settings(config, settings)) & set(PREDICTION_SETTINGS):
        return False
    for fold, record in records.items():
        entry, stat = weights[str(fold)], record.path.stat()
        if entry[1:] != [stat.st_size, stat.st_mtime_ns]:
            return False
    return True


def check_replaced(existing: ExistingRun, stamp: Mapping[str, Any], suffix: str) -> None:
    """Refuse to write over whole predictions that are of something else.

    Raises:
        UserError: there are some, with these or with other views.
    """
    existing.check_test_samples(overwrite=False)
    for other in ("", "_tta"):
        name = f"predictions{other}"
        if not existing.has(name):
            continue
        before = read_stamp(existing.path, other)
        if other != suffix and "folds" not in before:
            continue  # it has no digests to compare, and this run does not replace it
        if other == suffix and before["views"] != stamp["views"]:
            what = f"the views {', '.join(before['views'])}"
        elif "folds" in before and are_of_the_same_networks(before, stamp):
            continue
        elif (
            differing_sample((before.get("strain") or {}).get("test", {}), stamp["strain"]["test"])
            is not None
        ):
            what = "other test samples of the same ids"
        elif (before.get("labelled") or stamp["labelled"]) != stamp["labelled"]:
            what = "other ids, targets or folds"
        elif "folds" not in before and before.get("samples") == stamp["samples"]:
            # A stamp without digests: a mere copy of the weights has another date as well.
            what = (
                "weights that have no digest and another date or size than those that are there, "
                "or with other settings"
            )
        else:
            what = "other weights, settings or samples"
        flags = f"--inference --overwrite{' --tta' if suffix else ''}"
        raise UserError(
            f"{existing.path / name}.npy is there, made of {what}: {flags} moves it aside and "
            f"predicts again, and trains nothing; or predict into a folder of its own with "
            f"--inference --set name=… weight_path={existing.path}"
        )


def has_other_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a folder holds arrays of these names with other values, or damaged ones.

    A run that was killed between its arrays leaves those that are about to be written again.
    """
    for name, array in arrays.items():
        if not (folder / name).exists():
            continue
        try:
            before = load_array(folder / name)
        except UserError:  # damaged: it may still be worth keeping
            return True
        if not np.array_equal(before, array, equal_nan=True):
            return True
    return False
