"""One experiment: its data, its folds, their training. `train.py` is its command line.

What it leaves in `results/<name>/` is said in `run_folder.py` and `predictions.py`; the predictions
themselves are made by `inference.py`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from configuration.parts import build_object, thaw
from configuration.rules import ConfigMeta
from configuration.types import accepted_arguments
from experiments.building import (
    build_model,
    build_optimizer,
    build_parts,
    build_preparation,
    check_caches,
    compile_network,
    open_cache,
    read_data,
    split_folds,
    try_one_sample,
    weights_of_fold,
)
from experiments.pseudo_labels import Labels, describe
from experiments.run_directory import RunFolder, learnt_from
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.locks import run_lock
from runtime.seeds import seed_everything
from training import distributed
from training.checkpoints import adopt_weights, load_checkpoint
from training.settings import Checkpointing, Loading, Objective, Precision, Reporting, Schedule
from training.state import TrainerState
from training.trainer import Trainer
from training_extras import WeightAverage, find_views

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import Dataset


@dataclass
class Options:
    """What the command line decides, beside the config."""

    results: Path = Path("results")
    resume: bool = False
    skip_existing: bool = False
    inference: bool = False
    tta: bool = False
    dry_run: bool = False
    pretrained: bool = True
    weights: str | None = None
    num_workers: int | None = None
    cache_device: bool = False
    compile: bool = False
    show_progress: bool | None = None
    checkpoint_every: float = 10.0
    show_memory: bool = False
    limit_fold: int | None = None


class Experiment:
    """A config, its data split into folds, and the folder its results go to."""

    def __init__(self, config: ConfigMeta, options: Options, device: torch.device) -> None:
        self.config, self.options, self.device = config, options, device
        plain = Path(config.name).name == config.name and "\0" not in config.name
        if not plain or not config.name or config.name.startswith("."):
            raise UserError(f"name = {config.name!r}: expected a plain folder name")
        self.view_names = tuple(config.views) if options.tta else ("identity",)
        find_views(self.view_names)  # a misspelt one is said before the training, not after it
        self.train, self.test = read_data(config)
        self.folds = split_folds(config, self.train)
        fold_of_row = np.empty(len(self.train), np.int64)
        for fold, (_, rows) in enumerate(self.folds):
            fold_of_row[rows] = fold
        self.folder = RunFolder(
            Path(options.results) / config.name,
            config,
            self.train["id"].to_numpy(str),
            self.test["id"].to_numpy(str),
            fold_of_row,
        )
        self.labels = None if options.inference else self.read_labels()
        self.states: dict[int, TrainerState] = {}

    @property
    def fold_numbers(self) -> list[int]:
        """The folds to work on: all, or the one asked for; two in a dry run."""
        if self.options.limit_fold is not None:
            return [self.options.limit_fold]
        return list(range(len(self.folds)))[: 2 if self.options.dry_run else None]

    def lock(self) -> contextlib.AbstractContextManager:
        """Hold the folder, or with --limit_fold that fold of it, against other runs."""
        if not distributed.is_main():
            return contextlib.nullcontext()
        return run_lock(self.folder.path, self.options.limit_fold)

    # --- training ----------------------------------------------------------------------------

    def fit(self) -> None:
        """Train the folds asked for, each taken up where it stopped.

        Nothing that lies in the folder is touched before the first network has been built.
        """
        options = self.options
        going_on = options.resume or options.skip_existing
        check_caches(
            self.config, self.train, self.test, self.device if options.cache_device else None
        )
        self.folder.check(self.fold_numbers, going_on, self.labels and self.labels.digest)
        for fold in self.fold_numbers:  # of the last one too, before the first is trained
            self.check_start(fold)
        begun = False
        for fold in self.fold_numbers:
            work = self.prepare_fold(fold)
            if not begun:
                self.begin(going_on)
                begun = True
            if work is not None:
                self.fit_fold(fold, *work)
            distributed.barrier()
        if distributed.is_main():
            self.folder.write_history()

    def begin(self, going_on: bool) -> None:
        distributed.barrier()  # all have read what the first now changes
        if not distributed.is_main():
            return
        figures = None
        if self.labels is not None:
            figures = describe(self.labels, len(self.test))
            source = self.config.pseudo_labels.params["source"]
            LOGGER.info(
                f"{figures['samples']} of {figures['test_samples']} test samples join the training "
                f"with {'invented labels' if self.options.dry_run else f'labels of {source}'}"
            )
        self.folder.begin(self.fold_numbers, going_on, self.device, figures)

    def prepare_fold(self, fold: int) -> tuple[Trainer, Dataset, Dataset] | None:
        """Return the trainer of a fold, new or taken up, and its data; None where it is done."""
        options, config = self.options, self.config
        best = self.folder.path / f"fold{fold}.pt"
        if options.skip_existing and best.exists():
            LOGGER.info(f"fold {fold}: {best} exists, skipped")
            return None
        last = best.with_name(f"fold{fold}_last.pt")
        resuming = options.resume and last.exists()
        if resuming:
            state = TrainerState(**load_checkpoint(last, ("state",))["state"])
            if state.finished:
                self.states[fold] = state
                LOGGER.info(f"fold {fold}: finished before, nothing to do")
                return None
        seed_everything(config.seed, fold, "weights")
        trainer = self.build_trainer(fold, training=True, pretrained=not resuming)
        if resuming:
            trainer.resume()
            LOGGER.info(
                f"fold {fold}: goes on from epoch {trainer.state.epoch + 1}, "
                f"batch {trainer.state.step + 1}"
            )
        train_rows, valid_rows = self.folds[fold]
        train_set = self.dataset(
            self.train, train_rows, "train", **self.labelled_test_samples(fold)
        )
        valid_set = self.dataset(self.train, valid_rows, "train", is_test=True)
        try_one_sample(trainer, valid_set)
        return trainer, train_set, valid_set

    def fit_fold(self, fold: int, trainer: Trainer, train_set: Dataset, valid_set: Dataset) -> None:
        if distributed.is_main():
            from torch.utils.tensorboard import SummaryWriter

            self.folder.forget_predictions()
            trainer.board = SummaryWriter(str(self.folder.path / "tensorboard" / f"fold{fold}"))
        self.states[fold] = trainer.fit(train_set, valid_set)
        if trainer.board is not None:
            trainer.board.close()

    def dataset(
        self, frame: pd.DataFrame, rows: np.ndarray, split: str, is_test: bool = False, **extra: Any
    ) -> Dataset:
        part = frame.iloc[rows]
        if "device" in (accepted_arguments(self.config.dataset) or ()):
            extra["device"] = self.device  # it draws its samples there
        return build_object(
            self.config.dataset,
            {
                "paths": part["path"].tolist(),
                "targets": part["target"].to_numpy(np.float32),
                "ids": part["id"].tolist(),
                "cache": self.cache(split),
                "is_test": is_test,
                **thaw(self.config.dataset_params),
                **extra,
            },
        )

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
            self.options.results, self.folder.train_ids, self.folder.folds, self.folder.test_ids
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
            "test_targets": self.labels.values[fold],
            "test_cache": self.cache("test"),
        }

    def check_start(self, fold: int) -> None:
        """Refuse to begin a fold with weights that have learnt from what it is validated on."""
        config, options = self.config, self.options
        resuming = options.resume and (self.folder.path / f"fold{fold}_last.pt").exists()
        if config.weight_path is None or resuming:
            return
        weights = weights_of_fold(config, Path(options.results), fold)
        if not weights.is_file():
            return  # said where they are read
        ids = learnt_from(weights)
        if ids is None:
            LOGGER.warning(
                f"no ids_train.npy lies beside {weights}: if those weights have learnt from "
                f"samples of {config.train_path}, the validation of this run flatters"
            )
            return
        seen = np.isin(self.folder.train_ids[self.folds[fold][1]], ids).sum()
        if seen:
            raise UserError(
                f"weight_path = {config.weight_path}: {weights} has learnt from {seen} samples "
                f"that fold {fold} is validated on, so that its scores would flatter: use the "
                f"folds of that run (the same table, cv and splitter), each with its own weights"
            )

    def build_trainer(self, fold: int, training: bool, pretrained: bool = False) -> Trainer:
        config, options = self.config, self.options
        model = build_model(
            config, pretrained and options.pretrained, options.weights if pretrained else None
        ).to(self.device)
        if options.compile:
            compile_network(model)
            if training and config.sync_batch_norm and distributed.world_size() > 1:
                LOGGER.warning(
                    "--compile leaves out every batch norm where several processes share their "
                    "statistics: --set sync_batch_norm=false compiles them too"
                )
        if training and pretrained and config.weight_path is not None:
            adopt_weights(model, weights_of_fold(config, Path(options.results), fold))
        optimizer = scheduler = ema = None
        if training:
            optimizer = build_optimizer(config, model, self.device)
            if config.scheduler is not None:
                scheduler = build_object(config.scheduler, thaw(config.scheduler_params), optimizer)
            ema = None if config.ema_decay is None else WeightAverage(model, config.ema_decay)
        default_workers = 0 if self.device.type == "cpu" else 4
        return Trainer(
            model,
            optimizer=optimizer,
            objective=Objective(
                hook=config.hook.build(),
                criterion=config.criterion.build(),
                metric=config.eval_metric.build(),
                monitors=build_parts(config, "monitor_metrics"),
            ),
            schedule=Schedule(
                num_epochs=config.num_epochs,
                scheduler=scheduler,
                batch_scheduler=config.batch_scheduler,
                scheduler_target=config.scheduler_target,
            ),
            loading=Loading(
                batch_size=config.batch_size,
                accumulate=config.accumulate,
                num_workers=default_workers if options.num_workers is None else options.num_workers,
                max_batches=2 if options.dry_run else None,
            ),
            precision=Precision(
                amp=config.amp,
                clip_grad=config.clip_grad,
                max_grad_norm=config.max_grad_norm,
                max_bad_losses=config.max_bad_losses,
            ),
            checkpointing=Checkpointing(
                folder=self.folder.path,
                name=f"fold{fold}",
                checkpoint_every=options.checkpoint_every,
            ),
            reporting=Reporting(
                show_progress=options.show_progress, show_memory=options.show_memory
            ),
            callbacks=build_parts(config, "callbacks"),
            transforms={
                stage: build_preparation(config, stage, self.device) for stage in ("train", "test")
            },
            ema=ema,
            device=self.device,
            counters=(config.seed, fold),
            sync_batch_norm=config.sync_batch_norm,
        )
