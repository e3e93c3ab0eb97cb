"""The predictions of a run: out-of-fold and test logits of every fold that has a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from experiments.building import weights_of_fold
from experiments.fold_record import FoldRecord, check_finished, read_fold
from experiments.npy_files import load_array, save_array
from experiments.prediction_stamp import are_of_the_same_networks, read_stamp, samples_digest
from experiments.run_directory import ANEW, RunDirectory, is_saved
from experiments.run_identity import (
    changed_settings,
    deciding_settings,
    differing_sample,
    settings_digest,
    strain_digests,
)
from experiments.run_options import RunOptions
from experiments.run_records import read_run_config
from experiments.samples_learnt_from import LearntSamples, learnt_samples
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import write_json
from training import distributed
from training.checkpoints import load_checkpoint, load_model
from training.trainer import Trainer
from training_extras import find_views

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import Dataset

# What decides a network's predictions and who may be scored by it. Other settings, such as where
# the test samples lie, may differ from those it was trained with.
DECISIVE = (
    "cv",
    "splitter",
    "splitter_params",
    "debug",
    "dataset",
    "dataset_params",
    "model",
    "model_params",
    "transforms",
    "transforms2",
)


@dataclass(frozen=True)
class PredictionTask:
    """What is predicted, and with what.

    Attributes:
        config: of the run.
        options: of the command line.
        directory: where the logits go.
        device: where they are computed.
        train, test: tables (id, target, path).
        folds: (training rows, validation rows) of each fold.
        fold_numbers: the folds to predict with.
        view_names: the test-time views.
        make_trainer: returns the trainer of a fold, without an optimiser.
        make_dataset: (table, rows, split) -> the data set of these rows, without augmentation.
    """

    config: ConfigMeta
    options: RunOptions
    directory: RunDirectory
    device: torch.device
    train: pd.DataFrame
    test: pd.DataFrame
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    fold_numbers: Sequence[int]
    view_names: Sequence[str]
    make_trainer: Callable[[int], Trainer]
    make_dataset: Callable[[Any, np.ndarray, str], Dataset]

    @property
    def suffix(self) -> str:
        return "_tta" if self.options.tta else ""


def predict(task: PredictionTask) -> None:
    """Write out-of-fold and test logits, averaged over the views.

    Nothing is done where logits of the same weights, settings and samples are there.

    Raises:
        UserError: a fold has no weights or its training has not ended, and --allow_unfinished is
            not given; the weights are not for these samples, folds or settings; or other
            predictions are there, and --overwrite is not given.
    """
    directory, options, suffix = task.directory, task.options, task.suffix
    started = time.monotonic()
    records = find_records(task)
    if are_own(task, records):
        check_own_settings(task)  # first: with another cv, folds would seem to be missing
    directory.check_ids()
    check_records(task, records)
    known = (directory.train_ids, directory.folds) if are_own(task, records) else None
    learnt = {fold: learnt_samples(record, known) for fold, record in records.items()}
    unseen = check_sources(task, records, learnt)
    stamp = make_stamp(task, records, learnt)
    if not options.overwrite and not options.dry_run:
        add_digests_to_earlier_stamps(task, stamp, records)
        distributed.barrier()  # the others read what the first has written
        if are_current(directory, stamp, suffix):
            if distributed.is_main():
                directory.write_samples()  # one of them may be damaged or missing
            LOGGER.info(f"predictions{suffix}.npy in {directory.path} is up to date")
            return
        check_replaced(directory, stamp, suffix)
    out_of_fold, predictions = compute_logits(task, records, unseen)
    if not distributed.is_main():
        return
    directory.remove_temporaries()
    if not (directory.path / "config.json").exists():  # the weights are another experiment's
        write_json(directory.path / "config.json", to_plain(task.config))
        directory.add_start(task.device, options.dry_run)
    arrays = {f"outoffolds{suffix}.npy": out_of_fold, f"predictions{suffix}.npy": predictions}
    if options.overwrite and not options.dry_run:
        directory.move_predictions_aside()
    elif not options.dry_run and differ(directory.path, arrays):
        directory.move_predictions_aside(suffix)  # damaged, or without a record of their weights
    directory.write_samples()
    directory.write_history()
    for name, array in arrays.items():
        save_array(directory.path / name, array)
    # Written last: it says that the arrays are whole.
    write_json(directory.path / f"predictions{suffix}.json", stamp)
    bad = [f"fold {k}" for k in records if not np.isfinite(predictions[k]).all()]
    if bad and not options.dry_run:
        LOGGER.warning(f"{', '.join(bad)}: some logits are not finite; check the samples")
    n = int(np.isfinite(out_of_fold).sum() + np.isfinite(predictions).sum())
    LOGGER.info(f"predicted {n} samples in {time.monotonic() - started:.0f} s")


def compute_logits(
    task: PredictionTask, records: Mapping[int, FoldRecord], unseen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold logits (n, 1) and test logits (folds, m, 1), float32.

    Args:
        unseen: whether no network has seen any training row: each then gets the mean over the
            folds, and otherwise the logit of the one fold that has not seen it.
    """
    train, test, folds = task.train, task.test, task.folds
    # Views act on the strain that the data set returns, in its units.
    views = find_views(task.view_names, task.config.dataset_params.get("norm_factor"))
    out_of_fold = np.full((len(train), 1), np.nan, np.float32)
    predictions = np.full((len(folds), len(test), 1), np.nan, np.float32)
    by_fold = np.full((len(folds), len(train), 1), np.nan, np.float32)
    for fold, record in records.items():
        trainer = task.make_trainer(fold)
        load_model(trainer.model, record.path)
        rows = np.arange(len(train)) if unseen else folds[fold][1]
        logits = trainer.predict(task.make_dataset(train, rows, "train"), views, "out of fold")
        by_fold[fold, rows[: len(logits)]] = logits
        every = task.make_dataset(test, np.arange(len(test)), "test")
        logits = trainer.predict(every, views, "test")
        predictions[fold, : len(logits)] = logits
    counted = np.isfinite(by_fold).sum(0)
    np.divide(np.nansum(by_fold, 0), counted, out=out_of_fold, where=counted > 0)
    return out_of_fold, predictions


# --- whose weights ---------------------------------------------------------------------------


def find_records(task: PredictionTask) -> dict[int, FoldRecord]:
    """Return what lies there of every fold: the run's own weights, else those of `weight_path`.

    Any trace of a training of its own makes the run's weights its own, whether or not they are
    still there.

    Raises:
        UserError: no fold has weights.
    """
    config, results, own = task.config, Path(task.options.results), task.directory
    records = {fold: read_fold(own.weights(fold)) for fold in task.fold_numbers}
    if any(has_traces(record) for record in records.values()):
        return records
    history = own.path / "history.csv"  # written by a training only
    if config.weight_path is not None and history.exists():
        raise UserError(
            f"{next(iter(records.values())).path} is missing, and {history} says that this run was "
            f"trained: restore it; or predict with weight_path={config.weight_path} in a folder of "
            f"its own with --set name=…"
        )
    if config.weight_path is not None:
        paths = {fold: weights_of_fold(config, results, fold) for fold in records}
        records = {fold: read_fold(path) for fold, path in paths.items()}
    if not any(has_traces(record) for record in records.values()):
        load_checkpoint(next(iter(records.values())).path)  # says what is missing, what to do
    return records


def has_traces(record: FoldRecord) -> bool:
    """Whether there are weights of a fold, or anything that tells of its training."""
    return record.digest is not None or record.is_known or record.resumable


def are_own(task: PredictionTask, records: Mapping[int, FoldRecord]) -> bool:
    """Whether the networks are the run's own, and not those of `weight_path`."""
    return {record.path.parent for record in records.values()} == {task.directory.path}


def check_records(task: PredictionTask, records: dict[int, FoldRecord]) -> None:
    """Refuse folds that are missing or unfinished; drop missing ones where that is allowed.

    Raises:
        UserError: there are some, and --allow_unfinished is not given; or a fold is recorded as
            finished and its weights are missing, which no flag lets through.
    """
    allowed = task.options.allow_unfinished or task.options.dry_run
    for fold, record in records.items():
        if record.training_ended and record.digest is None:
            raise UserError(
                f"{record.path} is missing, and its record says that the fold is finished: restore "
                f"it, or train the fold anew with --overwrite --limit_fold {fold}"
            )
        if record.training_ended and not record.has_recorded_weights and not allowed:
            raise UserError(
                f"{record.explain_unfinished()}: restore it, or train the fold anew with "
                f"--overwrite --limit_fold {fold}; or --allow_unfinished uses it as it is, and "
                f"marks the predictions"
            )
    missing = [fold for fold, record in records.items() if record.digest is None]
    if missing and not allowed:
        train_it = "train it with --resume"
        if not are_own(task, records):
            folder = records[missing[0]].path.parent
            folds = read_run_config(folder).get("cv", task.config.cv)
            train_it = (
                f"train it there with --resume, or predict with as many folds as there are with "
                f"--set cv={folds}"
                if folds != task.config.cv
                else "train it there with --resume"
            )
        raise UserError(
            f"fold {', '.join(map(str, missing))} has no weights ({records[missing[0]].path} is "
            f"missing): {train_it}; or --allow_unfinished predicts with the others and leaves its "
            f"logits NaN"
        )
    check_finished(
        records.values(),
        allowed,
        "--resume trains it to its end; or --allow_unfinished predicts with its best weights so "
        "far, and marks the predictions",
    )
    for fold in missing:
        del records[fold]
    if task.options.dry_run:
        return
    if missing:
        LOGGER.warning(
            f"no weights of fold {', '.join(map(str, missing))}: its logits are NaN, and stacking "
            f"and pseudo-labels will refuse them until it is trained"
        )
    for fold, record in records.items():
        if record.is_known and not record.finished:
            LOGGER.warning(
                f"fold {fold} is not finished: these are its best weights so far, and the "
                f"predictions are marked as such; --resume trains it to its end"
            )


def check_sources(
    task: PredictionTask,
    records: Mapping[int, FoldRecord],
    learnt: Mapping[int, LearntSamples | None],
) -> bool:
    """Return whether no network has seen any of these samples; refuse what would flatter.

    Raises:
        UserError: the run's own networks were trained with other decisive settings or on other
            strain; or another experiment's learnt from some of the samples that they would be
            scored on, or it is not known from which.
    """
    config = task.config
    if are_own(task, records):
        check_own_networks(task, records)
        return False
    (folder,) = {record.path.parent for record in records.values()}
    if any(samples is None for samples in learnt.values()):
        raise UserError(
            f"{folder / 'ids_train.npy'} does not exist, so it is not known which samples the "
            f"weights in {folder} were trained on: restore it beside them"
        )
    unknown = next((samples.unknown for samples in learnt.values() if samples.unknown), None)
    if unknown is not None:
        raise UserError(
            f"{unknown}: restore it, as samples that they have seen would be scored as unseen"
        )
    everywhere = [
        samples.count_seen(task.train, config.train_cache)
        + samples.count_seen(task.test, config.test_cache)
        for samples in learnt.values()
    ]
    if not any(everywhere):
        return True
    for record in records.values():
        recorded = record.trained_from.get("samples", task.directory.samples)
        if recorded != task.directory.samples and lie_beside(folder, task.directory):
            raise UserError(
                f"{record.path} was trained on the ids and folds of {config.train_path}, but with "
                f"other targets than it gives now: restore the table as it was"
            )
    for fold, samples in learnt.items():
        held_out = task.train.iloc[task.folds[fold][1]]
        taught = samples.without_pseudo_labels()
        # Test samples with pseudo-labels are said in predictions.json: their truth is unknown.
        if samples.count_seen(held_out, config.train_cache) or taught.count_seen(
            task.test, config.test_cache
        ):
            raise UserError(
                f"the networks in {folder} were trained on some of the samples of "
                f"{config.train_path} or {config.test_path} that they would be scored on, so that "
                f"the score would flatter: use the same samples, cv and splitter with "
                f"weight_path={folder}, or other samples"
            )
    return False


def lie_beside(folder: Path, directory: RunDirectory) -> bool:
    """Whether the ids and folds in a folder of weights are those of this run."""
    return is_saved(folder / "ids_train.npy", directory.train_ids) and is_saved(
        folder / "folds.npy", directory.folds
    )


def check_own_settings(task: PredictionTask) -> None:
    """Refuse networks of this run that were trained with other decisive settings."""
    config, own = task.config, task.directory.path
    before = read_run_config(own)
    if not before:
        task.directory.check_settings_of_folds()
    changed = changed_settings(config, before) if before else []
    changed = [key for key in changed if key in DECISIVE]
    if changed:
        raise UserError(
            f"the networks in {own} were trained with another {', '.join(changed)}, so that "
            f"this score would not be theirs: predict as they were trained, or give this a "
            f"folder of its own with --inference --set name=… weight_path={own}"
        )


def check_own_networks(task: PredictionTask, records: Mapping[int, FoldRecord]) -> None:
    """Refuse networks of this run that were trained on other folds, targets or strain."""
    config, own = task.config, task.directory.path
    task.directory.check_folds()
    for record in records.values():
        if record.trained_from.get("samples", task.directory.samples) != task.directory.samples:
            raise UserError(
                f"{record.path} was trained on other ids, targets or folds than "
                f"{config.train_path} gives now, so that this score would not be its own: restore "
                f"the table as it was; or {ANEW}"
            )
        recorded = record.trained_from.get("strain", {}).get("train", {})
        if not recorded:
            continue
        now = strain_digests(task.train, config.train_cache, list(recorded))
        other = differing_sample(recorded, now)
        if other is not None:
            raise UserError(
                f"the networks in {own} were trained on other strain of {other!r} than "
                f"{config.train_path} gives now: give this a folder of its own with --inference "
                f"--set name=… weight_path={own}"
            )


# --- whether they are up to date -------------------------------------------------------------


def make_stamp(
    task: PredictionTask,
    records: Mapping[int, FoldRecord],
    learnt: Mapping[int, LearntSamples | None],
) -> dict[str, Any]:
    """Return the content of predictions.json: what the logits are of; see fold_record.py."""
    directory, config = task.directory, task.config
    folds = {}
    for fold, record in records.items():
        pseudo_ids = (
            directory.train_ids[:0] if learnt[fold] is None else learnt[fold].all_pseudo_ids
        )
        folds[str(fold)] = {
            "weights": record.digest,
            "finished": record.finished or not record.is_known,
            "epoch": record.epoch,
            "own": record.path.parent == directory.path,
            # Below results: the folder of all results may move.
            "file": f"{record.path.parent.name}/{record.path.name}",
            # Test samples that the network learnt from, with pseudo-labels.
            "pseudo_labelled_test_samples": int(np.isin(directory.test_ids, pseudo_ids).sum()),
        }
    plain = to_plain(config)
    decisive = {key: value for key, value in deciding_settings(plain).items() if key in DECISIVE}
    return {
        "views": list(task.view_names),
        "folds": folds,
        "samples": samples_digest(directory.train_ids, directory.test_ids, directory.folds),
        "labelled": directory.samples,
        "strain": {
            "train": strain_digests(task.train, config.train_cache),
            "test": strain_digests(task.test, config.test_cache),
        },
        "settings": settings_digest(decisive),
        "config": plain,
    }


def are_current(directory: RunDirectory, stamp: Mapping[str, Any], suffix: str) -> bool:
    """Whether logits of the same networks, views and samples are there, whole.

    Args:
        stamp: what would be predicted.
        suffix: '' or '_tta'.

    Raises:
        UserError: the record of what they are of is damaged.
    """
    if not directory.has(f"predictions{suffix}") or not arrays_fit(directory, suffix):
        return False
    before = read_stamp(directory.path, suffix)
    if before["views"] != stamp["views"]:
        return False
    return are_of_the_same_networks(before, stamp)


def arrays_fit(directory: RunDirectory, suffix: str) -> bool:
    """Whether both arrays can be read and have the shapes of this run; damaged ones do not."""
    try:
        out_of_fold = load_array(directory.path / f"outoffolds{suffix}.npy")
        logits = load_array(directory.path / f"predictions{suffix}.npy")
    except UserError:
        return False
    n, m, folds = len(directory.train_ids), len(directory.test_ids), int(directory.folds.max()) + 1
    shapes = (out_of_fold.shape, logits.shape) == ((n, 1), (folds, m, 1))
    return shapes and out_of_fold.dtype.kind == logits.dtype.kind == "f"


def add_digests_to_earlier_stamps(
    task: PredictionTask, stamp: Mapping[str, Any], records: Mapping[int, FoldRecord]
) -> None:
    """Add digests to stamps that were written before there were any, where they are of `stamp`.

    Without them the logits with and without test-time views could not be compared with each other
    if only one of the two was made by an earlier version.

    Args:
        stamp: what would be predicted now; its views play no part.
        records: of the folds in it.
    """
    for suffix in ("", "_tta"):
        before = read_stamp(task.directory.path, suffix)
        if is_earlier_stamp_of(before, task.config, stamp, records):
            kept = {key: before[key] for key in ("views", "config")}
            # Nobody knows the strain and the targets of that time.
            content = {**stamp, **kept, "strain": None, "labelled": None}
            if distributed.is_main():
                write_json(task.directory.path / f"predictions{suffix}.json", content)


def is_earlier_stamp_of(
    before: Mapping[str, Any],
    config: ConfigMeta,
    stamp: Mapping[str, Any],
    records: Mapping[int, FoldRecord],
) -> bool:
    """Whether a stamp from before digests is of the weights, samples and settings of `stamp`.

    It has the path, the size and the time of change of each file of weights, and the config.
    """
    weights, settings = before.get("weights"), before.get("config")
    if "folds" in before or not isinstance(weights, dict) or not isinstance(settings, dict):
        return False
    if before.get("samples") != stamp["samples"] or weights.keys() != stamp["folds"].keys():
        return False
    if set(changed_settings(config, settings)) & set(DECISIVE):
        return False
    for fold, record in records.items():
        entry, stat = weights[str(fold)], record.path.stat()
        if entry[1:] != [stat.st_size, stat.st_mtime_ns]:
            return False
    return True


def check_replaced(directory: RunDirectory, stamp: Mapping[str, Any], suffix: str) -> None:
    """Refuse to write over whole predictions that are of something else.

    Raises:
        UserError: there are some, with these or with other views.
    """
    directory.check_test_samples(overwrite=False)
    for other in ("", "_tta"):
        name = f"predictions{other}"
        if not directory.has(name):
            continue
        before = read_stamp(directory.path, other)
        if other != suffix and "folds" not in before:
            continue  # not comparable, and not written over
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
            # Of before digests: a copy of the weights has another date, other weights as well.
            what = (
                "weights that have no digest and another date or size than those that are there, "
                "or with other settings"
            )
        else:
            what = "other weights, settings or samples"
        flags = f"--inference --overwrite{' --tta' if suffix else ''}"
        raise UserError(
            f"{directory.path / name}.npy is there, made of {what}: {flags} moves it aside and "
            f"predicts again, and trains nothing; or predict into a folder of its own with "
            f"--inference --set name=… weight_path={directory.path}"
        )


def differ(folder: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays lie there that others of the same names would replace.

    A run that was killed between its arrays leaves those that are about to be written again.
    """
    for name, array in arrays.items():
        if not (folder / name).exists():
            continue
        try:
            before = load_array(folder / name)
        except UserError:  # damaged: another array, and somebody's all the same
            return True
        if not np.array_equal(before, array, equal_nan=True):
            return True
    return False
