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
from experiments.building import observation_of
from experiments.current_predictions import (
    add_digests_to_earlier_stamps,
    are_current,
    check_replaced,
    has_other_arrays,
    make_stamp,
)
from experiments.fold_record import FoldRecord
from experiments.npy_files import save_array
from experiments.prediction_weights import (
    SampleTables,
    are_own,
    check_own_settings,
    check_sources,
    check_weights,
    find_records,
    warn_of_unfinished,
)
from experiments.run_directory import RunDirectory
from experiments.run_options import RunOptions
from experiments.samples_learnt_from import learnt_samples
from experiments.targets import outputs_of
from runtime.console import LOGGER
from runtime.files import write_json
from training import distributed
from training.checkpoints import load_model
from training.trainer import Trainer
from training_extras import find_views

if TYPE_CHECKING:
    from torch.utils.data import Dataset


@dataclass(frozen=True)
class PredictionTask:
    """What is predicted, by what, and where the logits go.

    Attributes:
        config: of the run.
        options: of the command line.
        directory: where the logits go.
        device: where they are computed.
        tables: what is predicted.
        fold_numbers: the folds to predict with.
        view_names: the test-time views.
        make_trainer: returns the trainer of a fold, without an optimiser.
        make_dataset: (table, rows, split) -> the data set of these rows, without augmentation.
    """

    config: ConfigMeta
    options: RunOptions
    directory: RunDirectory
    device: torch.device
    tables: SampleTables
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
    config, options, directory, suffix = task.config, task.options, task.directory, task.suffix
    started = time.monotonic()
    existing = directory.existing
    records = find_records(existing, Path(options.results), task.fold_numbers)
    own = are_own(existing, records)
    if own:
        # Before missing folds are reported: with another cv, folds would seem to be missing.
        check_own_settings(existing)
    existing.check_ids()
    check_weights(config, records, own, options.allow_unfinished or options.dry_run)
    if not options.dry_run:
        warn_of_unfinished(records)
    records = {fold: record for fold, record in records.items() if record.digest is not None}
    known = (directory.samples.train_ids, directory.samples.folds) if own else None
    learnt = {fold: learnt_samples(record, known) for fold, record in records.items()}
    unseen = check_sources(existing, task.tables, records, learnt)
    stamp = make_stamp(existing, task.tables, task.view_names, records, learnt)
    if not options.overwrite and not options.dry_run:
        add_digests_to_earlier_stamps(config, directory.path, stamp, records)
        distributed.barrier()  # the others read what the first has written
        if are_current(existing, stamp, suffix):
            if distributed.is_main():
                directory.write_samples()  # one of them may be damaged or missing
            LOGGER.info(f"predictions{suffix}.npy in {directory.path} is up to date")
            return
        check_replaced(existing, stamp, suffix)
    out_of_fold, predictions = compute_logits(task, records, unseen)
    if not distributed.is_main():
        return
    directory.remove_temporaries()
    # The weights are another experiment's, or the file is missing.
    if not (directory.path / "config.json").exists():
        directory.write_config(trains=False)
        directory.add_start(task.device, options.dry_run)
    arrays = {f"outoffolds{suffix}.npy": out_of_fold, f"predictions{suffix}.npy": predictions}
    if options.overwrite and not options.dry_run:
        directory.move_predictions_aside()
    elif not options.dry_run and has_other_arrays(directory.path, arrays):
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
    n = int(np.isfinite(out_of_fold[:, 0]).sum() + np.isfinite(predictions[..., 0]).sum())
    LOGGER.info(f"predicted {n} samples in {time.monotonic() - started:.0f} s")


def compute_logits(
    task: PredictionTask, records: Mapping[int, FoldRecord], unseen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold logits (n, outputs) and test logits (folds, m, outputs), float32.

    Args:
        unseen: whether no network has seen any training row: each then gets the mean over the
            folds, and otherwise the logit of the one fold that has not seen it.
    """
    tables = task.tables
    train, test, folds = tables.train, tables.test, tables.folds
    # Views act on the strain that the data set returns, in its units.
    views = find_views(
        task.view_names,
        task.config.dataset_params.get("norm_factor"),
        observation=observation_of(task.config),
    )
    width = outputs_of(task.config).width
    out_of_fold = np.full((len(train), width), np.nan, np.float32)
    predictions = np.full((len(folds), len(test), width), np.nan, np.float32)
    by_fold = np.full((len(folds), len(train), width), np.nan, np.float32)
    for fold, record in records.items():
        trainer = task.make_trainer(fold)
        load_model(trainer.model, record.path)
        rows = np.arange(len(train)) if unseen else folds[fold][1]
        if len(rows):  # none with cv = 1
            logits = trainer.predict(task.make_dataset(train, rows, "train"), views, "out of fold")
            by_fold[fold, rows[: len(logits)]] = logits
        every = task.make_dataset(test, np.arange(len(test)), "test")
        logits = trainer.predict(every, views, "test")
        predictions[fold, : len(logits)] = logits
    counted = np.isfinite(by_fold).sum(0)
    np.divide(np.nansum(by_fold, 0), counted, out=out_of_fold, where=counted > 0)
    return out_of_fold, predictions
