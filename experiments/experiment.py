"""One experiment: its data, its folds, their training. `train.py` is its command line.

What it leaves in `results/<name>/` is described in `run_directory.py` and `predictions.py`; the
predictions themselves are made by `inference.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from configuration.config_class import ConfigMeta
from experiments.building import (
    build_dataset,
    check_caches,
    count_training_samples,
    observation_of,
    open_cache,
    read_data,
    read_targets,
    try_one_sample,
)
from experiments.config_checks import check_settings
from experiments.fold_plan import FoldAction, FoldPlan
from experiments.fold_record import read_fold
from experiments.fold_trainer import (
    DRY_RUN_BATCHES,
    build_fold_trainer,
    build_network,
    record_adjusted,
)
from experiments.folds import fold_of_rows, mention_unused_columns, split_folds
from experiments.inference import PredictionTask, predict
from experiments.observation_record import plain_config
from experiments.own_code import own_code_digests
from experiments.prediction_weights import SampleTables
from experiments.pseudo_labels import Labels, label_figures
from experiments.run_directory import RunDirectory
from experiments.run_identity import (
    RunSamples,
    TrainedFrom,
    adjustable_settings,
    deciding_settings,
    settings_digest,
    start_of_fold,
    strain_digests,
)
from experiments.run_options import RunOptions
from experiments.sample_table import check_covariates, read_weights
from experiments.starting_weights import check_starting_weights
from experiments.targets import columns_of_tables, outputs_of
from experiments.tracking_of_runs import fold_figures, track_fold
from runtime.console import LOGGER
from runtime.locks import run_lock
from runtime.seeds import seed_everything
from simulation.real_strain import recorded_strain_digests
from training import distributed
from training.fit_state import TrainerState
from training.loss_by_step import loss_points
from training.trainer import Trainer
from training_extras import find_views

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import Dataset


class Experiment:
    """A config, its data split into folds, and the directory its results go to."""

    def __init__(
        self,
        config: ConfigMeta,
        options: RunOptions,
        device: torch.device,
        watch: Callable[[TrainerState], str | None] | None = None,
    ) -> None:
        """Read the data and split it; nothing is written yet.

        Args:
            watch: called after each epoch of a fold; a text that it returns ends the training of
                the fold, as the reason.
        """
        self.config, self.options, self.device, self.watch = config, options, device, watch
        check_settings(config)
        self.view_names = tuple(config.views) if options.tta else ("identity",)
        find_views(
            self.view_names, observation=observation_of(config)
        )  # refuses a misspelt one before the training, not after it
        self.outputs = outputs_of(config)
        self.train, self.test = read_data(config)
        self.targets = read_targets(config, self.train)
        self.folds = split_folds(config, self.train)
        mention_unused_columns(config, self.train)
        self.weights = read_weights(config, self.train)
        check_covariates(config, self.train)
        self.directory = RunDirectory(
            options.run_folder(config.name),
            config,
            RunSamples(
                self.train["id"].to_numpy(str),
                self.test["id"].to_numpy(str),
                fold_of_rows(self.folds, len(self.train)),
                # (n, 1) -> (n,)
                self.targets.learnt[:, 0] if self.outputs.is_plain else self.targets.learnt,
                self.weights,
            ),
        )
        # Now: an own file may be edited while the folds are trained with what it was.
        self.own_code = own_code_digests(config)
        # before the training, as a source that lacks predictions is refused now
        self.labels = None if options.inference else self.read_labels()
        self.states: dict[int, TrainerState] = {}

    @property
    def fold_numbers(self) -> list[int]:
        """The folds to work on: all, or the one asked for; two in a dry run."""
        if self.options.limit_fold is not None:
            return [self.options.limit_fold]
        return list(range(len(self.folds)))[: 2 if self.options.dry_run else None]

    def lock(self) -> contextlib.AbstractContextManager:
        """Hold the directory, or with --limit_fold that fold of it, against other runs."""
        # One lock for all processes of torchrun: each with its own would refuse the others.
        if not distributed.is_main():
            return contextlib.nullcontext()
        return run_lock(self.directory.path, self.options.limit_fold)

    # --- training ----------------------------------------------------------------------------

    def fit(self) -> None:
        """Train the folds asked for, each resumed where it stopped.

        Nothing that lies in the directory is touched before the first network has been built.

        Raises:
            UserError: finished work lies there that is neither continued nor moved aside; or the
                run cannot be continued as it is.
        """
        # First: a half-moved directory would be mistaken for an unfinished run.
        self.complete_interrupted_move()
        check_caches(
            self.config, self.train, self.test, self.device if self.options.cache_device else None
        )
        plans = self.plan_folds()
        for plan in plans:  # of the last one too, before the first is trained
            if plan.action is FoldAction.BEGIN:
                check_starting_weights(
                    self.config,
                    Path(self.options.results),
                    plan.fold,
                    self.train.iloc[self.folds[plan.fold][1]],
                    self.options.allow_unfinished or self.options.dry_run,
                )
        begun = False
        for plan in plans:
            work = self.prepare_fold(plan)
            # Only now, with a network built and its data tried, is the directory changed.
            if not begun:
                self.begin(plans)
                begun = True
            if work is not None:
                self.fit_fold(plan.fold, *work)
            # The next fold reads what the first process writes of this one.
            distributed.barrier()
        if distributed.is_main():
            self.directory.write_history()

    def complete_interrupted_move(self) -> None:
        """Complete a move to another directory that was killed half-way."""
        if distributed.is_main():
            self.directory.complete_interrupted_move()
        distributed.barrier()

    def plan_folds(self) -> list[FoldPlan]:
        """Return what is done with each fold asked for; nothing is written or trained yet.

        Raises:
            UserError: as in `fit`.
        """
        options, directory, chosen = self.options, self.directory, self.fold_numbers
        if options.dry_run:
            return [self.plan_to_begin(fold) for fold in chosen]
        others = directory.existing.other_folds(chosen)
        if options.continues:
            directory.existing.check_test_samples(overwrite=False)
        else:
            directory.existing.check_start_anew(chosen, options.overwrite)
        # Without --limit_fold a start anew keeps no fold.
        if options.continues or (options.limit_fold is not None and others):
            directory.existing.check_kept_folds(self.labels and self.labels.digest)
        if not options.continues:
            plans = [self.plan_to_begin(fold) for fold in chosen]
        else:
            plans = self.plan_to_continue(chosen)
        if options.limit_fold is not None:
            self.check_other_folds(others, plans)
        return plans

    def plan_to_begin(self, fold: int) -> FoldPlan:
        return FoldPlan(fold, FoldAction.BEGIN, read_fold(self.directory.weights(fold)))

    def plan_to_continue(self, chosen: list[int]) -> list[FoldPlan]:
        """Return what is done with each fold where the run that is there is continued."""
        options = self.options
        there = [read_fold(self.directory.weights(fold)) for fold in chosen]
        begins = not all(record.is_known for record in there)
        return [
            self.directory.existing.plan(
                fold,
                self.trained_from(fold),
                begins,
                options.skip_existing,
                options.allow_unfinished,
            )
            for fold in chosen
        ]

    def check_other_folds(self, others: list[int], plans: list[FoldPlan]) -> None:
        """Refuse to train a fold beside others of this run that were trained from other things."""
        begins = any(plan.action is FoldAction.BEGIN for plan in plans)
        trains = any(plan.trains for plan in plans)
        for fold in others:
            record = read_fold(self.directory.weights(fold))
            trained_from = self.trained_from(self.fold_numbers[0])
            self.directory.existing.check_trained_from(
                record, trained_from, fold, same_fold=False, begins=begins, trains=trains
            )

    def trained_from(self, fold: int) -> TrainedFrom:
        """Return what this run trains a fold from."""
        config, options, directory = self.config, self.options, self.directory
        sampling = observation_of(config).sampling
        strain = {"train": strain_digests(self.train, config.train_cache, sampling=sampling)}
        if self.labels is not None:
            part = self.test.iloc[self.labels.rows]
            strain["pseudo"] = strain_digests(part, config.test_cache, sampling=sampling)
        # Strain that training samples are drawn from is no sample of the table.
        noise = recorded_strain_digests(config.dataset_params, observation_of(config))
        if noise:
            strain["noise"] = noise
        return TrainedFrom(
            samples=directory.samples.labelled,
            strain=strain,
            settings=settings_digest(deciding_settings(plain_config(config))),
            start=start_of_fold(
                config, Path(options.results), fold, options.pretrained, options.weights
            ),
            pseudo_labels=None if self.labels is None else self.labels.digest,
            rows_per_step=config.batch_size * config.accumulate * distributed.world_size(),
            code={} if options.allow_changed_code else self.own_code,
        )

    def begin(self, plans: list[FoldPlan]) -> None:
        """Move aside what is not kept, and write what this run is."""
        distributed.barrier()  # all have read what the first now changes
        if not distributed.is_main():
            return
        figures = labelled_ids = None
        if self.labels is not None:
            source = self.config.pseudo_labels.params["source"]
            figures = label_figures(self.labels, source, len(self.test))
            labelled_ids = self.directory.samples.test_ids[self.labels.rows]
            LOGGER.info(
                f"{figures['samples']} of {figures['test_samples']} test samples join the training "
                f"with {'invented labels' if self.options.dry_run else f'labels of {source}'}"
            )
        self.directory.begin(
            plans,
            self.options.continues,
            self.device,
            figures,
            limited=self.options.limit_fold is not None,
            labelled_ids=labelled_ids,
            is_dry_run=self.options.dry_run,
        )

    def prepare_fold(self, plan: FoldPlan) -> tuple[Trainer, Dataset, Dataset | None] | None:
        """Return the trainer of a fold, new or resumed, and its data; None where it is kept.

        The last of them, the validation samples, is None for a fold that has none.
        """
        options, config, fold = self.options, self.config, plan.fold
        if plan.action is FoldAction.KEEP:
            if options.skip_existing:
                LOGGER.info(f"fold {fold}: {plan.record.path} exists, skipped")
            else:
                names = TrainerState.__dataclass_fields__
                self.states[fold] = TrainerState(
                    **{k: v for k, v in plan.record.state.items() if k in names}
                )
                LOGGER.info(f"fold {fold}: finished before, nothing to do")
            return None
        continues = plan.action is not FoldAction.BEGIN
        # The same weights for a fold, whichever folds were trained before it.
        seed_everything(config.seed, fold, "weights")
        trainer = self.build_trainer(fold, training=True, pretrained=not continues)
        if continues:
            trainer.resume()
        else:
            trainer.state.trained_from = self.trained_from(fold).to_record()
        adjustable = adjustable_settings(config, distributed.world_size(), self.own_code)
        record_adjusted(trainer.state, fold, adjustable)
        # The checkpoint of a finished training says so, and `fit` would return at once.
        if plan.action is FoldAction.EXTEND:
            trainer.state.finished = False
        if continues:
            LOGGER.info(
                f"fold {fold}: continues from epoch {trainer.state.epoch + 1}, "
                f"batch {trainer.state.step + 1}"
            )
        train_rows, valid_rows = self.folds[fold]
        extra = self.labelled_test_samples(fold)
        if self.weights is not None:
            extra["weights"] = self.weights[train_rows]
        train_set = self.dataset(self.train, train_rows, "train", **extra)
        valid_set = None
        if len(valid_rows):
            valid_set = self.dataset(self.train, valid_rows, "train", is_test=True)
        # Any sample will do, and it must not be augmented.
        tried = valid_set or self.dataset(self.train, train_rows[:1], "train", is_test=True)
        try_one_sample(trainer, tried)
        return trainer, train_set, valid_set

    def fit_fold(
        self, fold: int, trainer: Trainer, train_set: Dataset, valid_set: Dataset | None
    ) -> None:
        trackers = None
        if distributed.is_main():
            epochs = len(trainer.state.history)
            trackers = track_fold(self.config, self.directory.path, fold, epochs)
            # those that a tracker lacks, as after a kill
            points = list(loss_points(trainer.state.loss_by_step))
            trackers.log_history(trainer.state.history, points)
            trainer.reporter.tracker = trackers
        try:
            self.states[fold] = trainer.fit(train_set, valid_set)
            if trackers is not None:
                trackers.log_result(fold_figures(self.states[fold]))
        finally:
            if trackers is not None:
                trackers.close(finished=trainer.state.finished)

    def dataset(
        self, frame: pd.DataFrame, rows: np.ndarray, split: str, is_test: bool = False, **extra: Any
    ) -> Dataset:
        part = frame.iloc[rows]
        samples = {
            "paths": part["path"].tolist(),
            "targets": self.targets_of(part, rows, split, is_test),
            "ids": part["id"].tolist(),
            "cache": self.cache(split),
            "is_test": is_test,
        }
        return build_dataset(self.config, self.outputs, self.device, samples, extra)

    def targets_of(
        self, part: pd.DataFrame, rows: np.ndarray, split: str, is_test: bool
    ) -> np.ndarray | None:
        """Return the targets (rows,) or (rows, outputs) of a data set; None where unknown.

        Args:
            part: the rows of the table.
            rows: their numbers.
            split: 'train' or 'test', whose targets are not known.
            is_test: to be validated or predicted, and not learnt from.
        """
        if split == "test":
            # The competition's table of test samples has a number in the place of each target.
            known = self.outputs.is_plain and "target" in columns_of_tables(self.config)
            return part["target"].to_numpy(np.float32) if known else None
        values = (self.targets.true if is_test else self.targets.learnt)[rows]
        return (values[:, 0] if self.outputs.is_plain else values).astype(np.float32)

    def cache(self, split: str) -> Any:
        return open_cache(self.config, split, self.device if self.options.cache_device else None)

    # --- pseudo-labels -----------------------------------------------------------------------

    def read_labels(self) -> Labels | None:
        """Return the labels of the test samples, where the config asks for some."""
        if self.config.pseudo_labels is None:
            return None
        source = self.config.pseudo_labels.build()
        if self.options.dry_run:
            return source.invent(len(self.folds), len(self.test), self.config.seed)
        return source.read(
            self.options.results,
            self.directory.samples.train_ids,
            self.directory.samples.folds,
            self.directory.samples.test_ids,
            self.options.allow_unfinished,
        )

    def labelled_test_samples(self, fold: int) -> dict[str, Any]:
        """Return the dataset's arguments for the test samples with this fold's labels."""
        if self.labels is None:
            return {}
        part = self.test.iloc[self.labels.rows]
        return {
            "pseudo_label": True,
            "test_paths": part["path"].tolist(),
            "test_ids": part["id"].tolist(),
            "test_targets": self.pad_labels(self.labels.values[fold]),
            "test_cache": self.cache("test"),
        }

    def pad_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return labels (m,), with side targets as (m, 1 + S), of which nothing is known."""
        if self.outputs.is_plain:
            return labels
        unknown = np.full((len(labels), len(self.outputs.sides)), np.nan)
        return np.concatenate([labels[:, None], unknown], axis=1)

    def updates_per_epoch(self, fold: int) -> int:
        """Return how many optimiser steps an epoch of a fold has."""
        labelled = 0 if self.labels is None else len(self.labels.rows)
        samples = count_training_samples(self.config, len(self.folds[fold][0]), labelled)
        batches = -(-samples // (self.config.batch_size * distributed.world_size()))
        if self.options.dry_run:
            batches = min(batches, DRY_RUN_BATCHES)
        return -(-batches // self.config.accumulate)

    # --- prediction --------------------------------------------------------------------------

    def predict(self) -> None:
        """Write the logits of all folds; see `inference.predict`."""
        self.complete_interrupted_move()
        predict(
            PredictionTask(
                config=self.config,
                options=self.options,
                directory=self.directory,
                device=self.device,
                tables=SampleTables(self.train, self.test, self.folds),
                fold_numbers=self.fold_numbers,
                view_names=self.view_names,
                make_trainer=lambda fold: self.build_trainer(fold, training=False),
                make_dataset=lambda table, rows, split: self.dataset(
                    table, rows, split, is_test=True
                ),
            )
        )

    def build_trainer(self, fold: int, training: bool, pretrained: bool = False) -> Trainer:
        """Return the trainer of a fold.

        Args:
            training: with an optimiser; without, it only predicts.
            pretrained: begin with the weights that config and command line name.
        """
        network = build_network(self.config, self.options, self.device, fold, training, pretrained)
        return build_fold_trainer(
            self.config,
            self.options,
            self.device,
            self.directory.path,
            fold,
            network,
            self.updates_per_epoch(fold) if training else None,
            self.watch,
            validates=bool(len(self.folds[fold][1])),
        )
