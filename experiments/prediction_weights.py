"""Which weights a run predicts with, and whether the samples at hand may be scored by them.

A network must not be scored on samples that it has learnt from. A run's own networks are therefore
compared with the ids, folds, targets and strain they were trained on, and those of another run
(`weight_path`) with all that is recorded of what they have learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configuration.config_class import ConfigMeta
from experiments.building import observation_of, weights_of_fold
from experiments.existing_run import ANEW, ExistingRun, is_saved
from experiments.fold_record import FoldRecord, check_finished, read_fold
from experiments.observation_record import (
    check_observation_of_weights,
    explain_other_observation,
    plain_config,
)
from experiments.own_code import warn_of_changed_code
from experiments.run_identity import changed_settings, differing_sample, strain_digests
from experiments.run_records import read_run_config
from experiments.samples_learnt_from import LearntSamples
from runtime.console import LOGGER
from runtime.errors import UserError
from training.checkpoints import load_checkpoint

if TYPE_CHECKING:
    import pandas as pd


# Settings that decide a network's logits, or which samples it has not seen in training. Others,
# such as where the test samples lie, may differ from those it was trained with.
PREDICTION_SETTINGS = (
    "cv",
    "splitter",
    "splitter_params",
    "debug",
    "observation",
    "dataset",
    "dataset_params",
    "model",
    "model_params",
    "transforms",
    "transforms2",
)


@dataclass(frozen=True)
class SampleTables:
    """The samples that a run predicts.

    Attributes:
        train, test: tables (id, target, path).
        folds: (training rows, validation rows) of each fold.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    folds: Sequence[tuple[np.ndarray, np.ndarray]]


def find_records(
    own: ExistingRun, results: Path, fold_numbers: Sequence[int]
) -> dict[int, FoldRecord]:
    """Return the record of every fold: of the run's own weights, else of those of `weight_path`.

    Any trace of a training of its own makes the run's weights its own, whether or not they are
    still there.

    Raises:
        UserError: no fold has weights, or those of `weight_path` are of another observation.
    """
    config = own.config
    records = {fold: read_fold(own.weights(fold)) for fold in fold_numbers}
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
        for path in paths.values():
            check_observation_of_weights(config, path)
        records = {fold: read_fold(path) for fold, path in paths.items()}
    if not any(has_traces(record) for record in records.values()):
        load_checkpoint(next(iter(records.values())).path)  # says what is missing, what to do
    return records


def has_traces(record: FoldRecord) -> bool:
    """Whether there are weights of a fold, or anything that tells of its training."""
    return record.digest is not None or record.is_known or record.resumable


def are_own(existing: ExistingRun, records: Mapping[int, FoldRecord]) -> bool:
    """Whether the networks are the run's own, and not those of `weight_path`."""
    return {record.path.parent for record in records.values()} == {existing.path}


def check_weights(
    config: ConfigMeta, records: Mapping[int, FoldRecord], own: bool, allowed: bool
) -> None:
    """Refuse folds whose weights are missing, not the recorded ones, or unfinished.

    Args:
        own: whether the weights are the run's own.
        allowed: accept what --allow_unfinished accepts.

    Raises:
        UserError: there are some, and they are not allowed; or a fold is recorded as finished and
            its weights are missing, which no flag lets through.
    """
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
        if not own:
            folder = records[missing[0]].path.parent
            folds = read_run_config(folder).get("cv", config.cv)
            train_it = (
                f"train it there with --resume, or predict with as many folds as there are with "
                f"--set cv={folds}"
                if folds != config.cv
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


def warn_of_unfinished(records: Mapping[int, FoldRecord]) -> None:
    """Log the folds that --allow_unfinished lets through without weights or unfinished."""
    missing = [fold for fold, record in records.items() if record.digest is None]
    if missing:
        LOGGER.warning(
            f"no weights of fold {', '.join(map(str, missing))}: its logits are NaN, and stacking "
            f"and pseudo-labels will refuse them until it is trained"
        )
    for fold, record in records.items():
        if record.digest is not None and record.is_unfinished:
            LOGGER.warning(
                f"fold {fold} is not finished: these are its best weights so far, and the "
                f"predictions are marked as such; --resume trains it to its end"
            )


def check_sources(
    existing: ExistingRun,
    tables: SampleTables,
    records: Mapping[int, FoldRecord],
    learnt: Mapping[int, LearntSamples | None],
) -> bool:
    """Return whether no network has seen any of these samples; refuse what would flatter.

    Raises:
        UserError: the run's own networks were trained with other decisive settings or on other
            strain; or another experiment's learnt from some of the samples that they would be
            scored on, or it is not known from which.
    """
    config = existing.config
    if are_own(existing, records):
        check_own_networks(existing, tables.train, records)
        return False
    (folder,) = {record.path.parent for record in records.values()}
    if any(of_fold is None for of_fold in learnt.values()):
        raise UserError(
            f"{folder / 'ids_train.npy'} does not exist, so it is not known which samples the "
            f"weights in {folder} were trained on: restore it beside them"
        )
    unknown = next((of_fold.unknown for of_fold in learnt.values() if of_fold.unknown), None)
    if unknown is not None:
        raise UserError(
            f"{unknown}: restore it, as samples that they have seen would be scored as unseen"
        )
    sampling = observation_of(config).sampling
    # Weights that have seen none of these samples, as of other data, may score all of them.
    everywhere = [
        of_fold.count_seen(tables.train, config.train_cache, sampling)
        + of_fold.count_seen(tables.test, config.test_cache, sampling)
        for of_fold in learnt.values()
    ]
    if not any(everywhere):
        return True
    for record in records.values():
        recorded = record.trained_from.get("samples", existing.samples.labelled)
        if recorded != existing.samples.labelled and lie_beside(folder, existing):
            raise UserError(
                f"{record.path} was trained on the ids and folds of {config.train_path}, but with "
                f"other targets than it gives now: restore the table as it was"
            )
    for fold, of_fold in learnt.items():
        # A fold's network may have seen the other rows: it is not scored on them.
        held_out = tables.train.iloc[tables.folds[fold][1]]
        taught = of_fold.without_pseudo_labels()
        # Pseudo-labelled test samples are allowed, as their true targets are unknown; the stamp
        # counts them.
        if of_fold.count_seen(held_out, config.train_cache, sampling) or taught.count_seen(
            tables.test, config.test_cache, sampling
        ):
            raise UserError(
                f"the networks in {folder} were trained on some of the samples of "
                f"{config.train_path} or {config.test_path} that they would be scored on, so that "
                f"the score would flatter: use the same samples, cv and splitter with "
                f"weight_path={folder}, or other samples"
            )
    return False


def lie_beside(folder: Path, existing: ExistingRun) -> bool:
    """Whether the ids and folds in a folder of weights are those of this run."""
    return is_saved(folder / "ids_train.npy", existing.samples.train_ids) and is_saved(
        folder / "folds.npy", existing.samples.folds
    )


def check_own_settings(existing: ExistingRun) -> None:
    """Refuse networks of this run that were trained with other decisive settings."""
    config, own = existing.config, existing.path
    before = read_run_config(own)
    # Without config.json the records of the folds tell at least that settings differ.
    if not before:
        existing.check_settings_of_folds()
    changed = changed_settings(config, before) if before else []
    changed = [key for key in changed if key in PREDICTION_SETTINGS]
    if "observation" in changed:
        then, now = explain_other_observation(
            before.get("observation"), plain_config(config)["observation"]
        )
        raise UserError(
            f"the networks in {own} were trained on {then}, and this run observes {now}: predict "
            f"as they were trained"
        )
    if changed:
        raise UserError(
            f"the networks in {own} were trained with another {', '.join(changed)}, so that "
            f"this score would not be theirs: predict as they were trained, or give this a "
            f"folder of its own with --inference --set name=… weight_path={own}"
        )


def check_own_networks(
    existing: ExistingRun, train: pd.DataFrame, records: Mapping[int, FoldRecord]
) -> None:
    """Refuse networks of this run that were trained on other folds, targets or strain."""
    config, own = existing.config, existing.path
    existing.check_folds()
    warn_of_changed_code(config, records.values())
    for record in records.values():
        if (
            record.trained_from.get("samples", existing.samples.labelled)
            != existing.samples.labelled
        ):
            raise UserError(
                f"{record.path} was trained on other ids, targets or folds, or with other "
                f"weights, than {config.train_path} gives now, so that this score would not be its "
                f"own: restore the table as it was; or {ANEW}"
            )
        recorded = record.trained_from.get("strain", {}).get("train", {})
        # Older runs recorded no strain.
        if not recorded:
            continue
        now = strain_digests(
            train, config.train_cache, list(recorded), observation_of(config).sampling
        )
        other = differing_sample(recorded, now)
        if other is not None:
            raise UserError(
                f"the networks in {own} were trained on other strain of {other!r} than "
                f"{config.train_path} gives now: give this a folder of its own with --inference "
                f"--set name=… weight_path={own}"
            )
