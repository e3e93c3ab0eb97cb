"""One experiment from its data to its predictions: folds, training, inference, files.

`train.py` is its command line. In `results/<name>/` it leaves

    config.json, run.json       the resolved config; versions, revision, command, device
    fold<k>.pt, fold<k>_last.pt the best weights of a fold; all that resuming it needs
    history.csv, tensorboard/   learning curves
    outoffolds.npy, predictions.npy  logits; what they and the arrays beside them hold is said in
                                predictions.py
    predictions.json            what they were made from
    pseudo_labels.json          figures of the labels that the test samples were given, if any
    submission.csv, summary.png, summary.json
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import distributed
from building import (
    build_model,
    build_optimizer,
    build_preparation,
    compile_network,
    open_cache,
    provenance,
    read_data,
    split_folds,
    weights_of_fold,
)
from checkpoints import adopt_weights, load_checkpoint, load_model
from config_base import ConfigMeta, thaw
from locks import run_lock
from predictions import load_array, save_array
from pseudo_labels import Labels, describe
from summary import write_history
from trainer import Trainer, TrainerState
from training_extras import WeightAverage, find_views
from utils import (
    LOGGER,
    UserError,
    read_json,
    seed_everything,
    to_plain,
    write_json,
)  # fmt: skip

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
        if Path(config.name).name != config.name or config.name.startswith("."):
            raise UserError(f"name = {config.name!r}: expected a plain folder name")
        self.view_names = tuple(config.views) if options.tta else ("identity",)
        find_views(self.view_names)  # a misspelt one is said before the training, not after it
        self.folder = Path(options.results) / config.name
        self.train, self.test = read_data(config)
        self.folds = split_folds(config, self.train)
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
        return run_lock(self.folder, self.options.limit_fold)

    # --- training ----------------------------------------------------------------------------

    def claim_folder(self) -> None:
        """Write what the run is. Folds of another config or of other samples are never kept.

        Raises:
            UserError: folds that this run would keep are another experiment's.
        """
        config_path = self.folder / "config.json"
        plain = to_plain(self.config)
        others = [
            fold
            for fold in range(len(self.folds))
            if fold not in self.fold_numbers and (self.folder / f"fold{fold}.pt").exists()
        ]
        keeping = self.options.resume or self.options.skip_existing or bool(others)
        if keeping and config_path.exists():
            before = read_json(config_path)
            changed = sorted(k for k in plain | before if plain.get(k) != before.get(k))
            if changed:
                raise UserError(
                    f"{config_path} differs from this run in {', '.join(changed)}: a run goes on "
                    f"as it began; start all its folds anew without --resume and "
                    f"--skip_existing, or give it a folder of its own with --set name=…"
                )
            self.check_ids()
            if self.labels is not None:
                self.check_labels()
        distributed.barrier()  # all have read what the first now changes
        if not distributed.is_main():
            return
        if not (self.options.resume or self.options.skip_existing):
            for fold in self.fold_numbers:  # else a later --resume would take the old ones up
                for suffix in ("", "_last"):
                    (self.folder / f"fold{fold}{suffix}.pt").unlink(missing_ok=True)
        write_json(config_path, plain)
        self.write_provenance()
        self.write_samples()
        if self.labels is not None:
            figures = describe(self.labels, len(self.test))
            write_json(self.folder / "pseudo_labels.json", figures)
            source = self.config.pseudo_labels.params["source"]
            LOGGER.info(
                f"{figures['samples']} of {figures['test_samples']} test samples join the training "
                f"with {'invented labels' if self.options.dry_run else f'labels of {source}'}"
            )

    def write_provenance(self) -> None:
        """Add this start to run.json; the weights may come from any of those listed."""
        path = self.folder / "run.json"
        going_on = self.options.resume or self.options.skip_existing or self.options.inference
        starts = read_json(path).get("starts", []) if going_on and path.exists() else []
        write_json(path, {"starts": [*starts, provenance(self.config, self.device)]})

    def write_samples(self) -> None:
        """Write which samples the rows of all arrays belong to, and their folds."""
        for split, frame in (("train", self.train), ("test", self.test)):
            save_array(self.folder / f"ids_{split}.npy", frame["id"].to_numpy(dtype=str))
        save_array(self.folder / "folds.npy", self.fold_of_row)

    @cached_property
    def fold_of_row(self) -> np.ndarray:
        """The fold (n_train,) that each training row is validated in."""
        folds = np.empty(len(self.train), np.int64)
        for fold, (_, rows) in enumerate(self.folds):
            folds[rows] = fold
        return folds

    def check_ids(self) -> None:
        """Refuse a folder whose networks were trained on other samples than these.

        A network may have been trained on any of them, so its score would flatter.
        """
        path = self.folder / "ids_train.npy"
        if path.exists() and not np.array_equal(load_array(path), self.train["id"].to_numpy(str)):
            raise UserError(
                f"{self.folder} belongs to other training samples than {self.config.train_path}: "
                f"give this run a folder of its own with --set name=… (and, to use the networks "
                f"there, weight_path={self.folder})"
            )

    def fit_fold(self, fold: int) -> None:
        """Train one fold, or take it up where it stopped."""
        options, config = self.options, self.config
        best = self.folder / f"fold{fold}.pt"
        if options.skip_existing and best.exists():
            LOGGER.info(f"fold {fold}: {best} exists, skipped")
            return
        last = best.with_name(f"fold{fold}_last.pt")
        resuming = options.resume and last.exists()
        if resuming:
            state = TrainerState(**load_checkpoint(last, ("state",))["state"])
            if state.finished:
                self.states[fold] = state
                LOGGER.info(f"fold {fold}: finished before, nothing to do")
                return
        seed_everything(config.seed, fold, "weights")
        trainer = self.build_trainer(fold, training=True, pretrained=not resuming)
        if resuming:
            trainer.resume()
            LOGGER.info(
                f"fold {fold}: goes on from epoch {trainer.state.epoch + 1}, "
                f"batch {trainer.state.step + 1}"
            )
        train_rows, valid_rows = self.folds[fold]
        self.states[fold] = trainer.fit(
            self.dataset(self.train, train_rows, "train", **self.labelled_test_samples(fold)),
            self.dataset(self.train, valid_rows, "train", is_test=True),
        )
        if trainer.board is not None:
            trainer.board.close()

    def dataset(
        self, frame: pd.DataFrame, rows: np.ndarray, split: str, is_test: bool = False,
        **extra: Any,
    ) -> Dataset:  # fmt: skip
        part = frame.iloc[rows]
        return self.config.dataset(
            paths=part["path"].tolist(), targets=part["target"].to_numpy(np.float32),
            ids=part["id"].tolist(), cache=self.cache(split),
            is_test=is_test, **thaw(self.config.dataset_params), **extra,
        )  # fmt: skip

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
            self.options.results, self.train["id"].to_numpy(str), self.fold_of_row,
            self.test["id"].to_numpy(str),
        )  # fmt: skip

    def labelled_test_samples(self, fold: int) -> dict[str, Any]:
        """Return the dataset's arguments for the test samples with this fold's labels."""
        if self.labels is None:
            return {}
        part = self.test.iloc[self.labels.rows]
        return {
            "pseudo_label": True, "test_paths": part["path"].tolist(),
            "test_ids": part["id"].tolist(), "test_targets": self.labels.values[fold],
            "test_cache": self.cache("test"),
        }  # fmt: skip

    def check_labels(self) -> None:
        """Refuse to go on with other pseudo-labels than the folder's networks learnt from."""
        path = self.folder / "pseudo_labels.json"
        if path.exists() and read_json(path).get("digest") != self.labels.digest:
            source = self.config.pseudo_labels.build()
            raise UserError(
                f"the predictions in {self.options.results / source.source} have changed since "
                f"{self.folder} was begun: start all its folds anew without --resume and "
                f"--skip_existing, or give it a folder of its own with --set name=…"
            )

    def build_trainer(self, fold: int, training: bool, pretrained: bool = False) -> Trainer:
        config, options = self.config, self.options
        model = build_model(
            config, pretrained and options.pretrained, options.weights if pretrained else None
        ).to(self.device)
        if options.compile:
            compile_network(model)
        if training and pretrained and config.weight_path is not None:
            adopt_weights(model, weights_of_fold(Path(config.weight_path), fold))
        optimizer = scheduler = ema = board = None
        if training:
            optimizer = build_optimizer(config, model, self.device)
            if config.scheduler is not None:
                scheduler = config.scheduler(optimizer, **thaw(config.scheduler_params))
            ema = WeightAverage(model, config.ema_decay) if config.ema_decay else None
            if distributed.is_main():
                from torch.utils.tensorboard import SummaryWriter

                board = SummaryWriter(str(self.folder / "tensorboard" / f"fold{fold}"))
        default_workers = 0 if self.device.type == "cpu" else 4
        return Trainer(
            model, optimizer=optimizer, scheduler=scheduler,
            criterion=config.criterion.build(), metric=config.eval_metric.build(),
            monitors=[part.build() for part in config.monitor_metrics],
            hook=config.hook.build(),
            callbacks=[part.build() for part in config.callbacks],
            transforms={
                stage: build_preparation(config, stage, self.device) for stage in ("train", "test")
            },
            folder=self.folder, serial=f"fold{fold}", device=self.device,
            counters=(config.seed, fold), batch_size=config.batch_size,
            num_epochs=config.num_epochs,
            num_workers=default_workers if options.num_workers is None else options.num_workers,
            amp=config.amp, clip_grad=config.clip_grad, max_grad_norm=config.max_grad_norm,
            max_bad_losses=config.max_bad_losses, accumulate=config.accumulate,
            batch_scheduler=config.batch_scheduler, scheduler_target=config.scheduler_target,
            ema=ema, checkpoint_every=options.checkpoint_every,
            max_batches=2 if options.dry_run else None, show_progress=options.show_progress,
            board=board, show_memory=options.show_memory,
        )  # fmt: skip

    # --- inference ---------------------------------------------------------------------------

    def predict(self) -> None:
        """Write out-of-fold and test logits of every fold that has a checkpoint."""
        config, options = self.config, self.options
        started = time.monotonic()
        self.check_ids()
        views = find_views(self.view_names)
        suffix = "_tta" if options.tta else ""
        sources = {fold: self.find_weights(fold) for fold in self.fold_numbers}
        stamp = self.prediction_stamp(sources)
        if options.resume and self.predictions_are_current(stamp, suffix):
            LOGGER.info(f"predictions{suffix}.npy in {self.folder} is up to date, nothing to do")
            return
        unseen = self.check_sources(sources)
        out_of_fold = np.full((len(self.train), 1), np.nan, np.float32)
        predictions = np.full((len(self.folds), len(self.test), 1), np.nan, np.float32)
        by_fold = np.full((len(self.folds), len(self.train), 1), np.nan, np.float32)
        for fold, weights in sources.items():
            trainer = self.build_trainer(fold, training=False)
            load_model(trainer.model, weights)
            rows = np.arange(len(self.train)) if unseen else self.folds[fold][1]
            valid = self.dataset(self.train, rows, "train", is_test=True)
            logits = trainer.predict(valid, views, "out of fold")
            by_fold[fold, rows[: len(logits)]] = logits
            test = self.dataset(self.test, np.arange(len(self.test)), "test", is_test=True)
            logits = trainer.predict(test, views, "test")
            predictions[fold, : len(logits)] = logits
        # No fold has seen the row: their mean. Otherwise: the one fold that has not.
        counted = np.isfinite(by_fold).sum(0)
        np.divide(np.nansum(by_fold, 0), counted, out=out_of_fold, where=counted > 0)
        if not distributed.is_main():
            return
        if not (self.folder / "config.json").exists():  # the weights are another experiment's
            write_json(self.folder / "config.json", to_plain(config))
            self.write_provenance()
        self.write_samples()
        save_array(self.folder / f"outoffolds{suffix}.npy", out_of_fold)
        save_array(self.folder / f"predictions{suffix}.npy", predictions)
        write_json(self.folder / f"predictions{suffix}.json", stamp)
        bad = [f"fold {k}" for k in sources if not np.isfinite(predictions[k]).all()]
        if bad and not options.dry_run:
            LOGGER.warning(f"{', '.join(bad)}: some logits are not finite; check the samples")
        n, seconds = len(self.train) + len(sources) * len(self.test), time.monotonic() - started
        LOGGER.info(f"predicted {n} samples in {seconds:.0f} s")

    def find_weights(self, fold: int) -> Path:
        """The fold's own checkpoint, or with `weight_path` that of another experiment."""
        own = self.folder / f"fold{fold}.pt"
        if own.exists() or self.config.weight_path is None:
            return own
        return weights_of_fold(Path(self.config.weight_path), fold)

    def check_sources(self, sources: dict[int, Path]) -> bool:
        """Return whether no network has seen any of these samples; refuse what would flatter.

        Raises:
            UserError: another experiment's networks were trained on some of the samples and not
                on the same folds, or it is not known on which.
        """
        folders = {path.parent for path in sources.values()}
        if folders == {self.folder}:
            return False
        if self.folder in folders:
            raise UserError(
                f"{self.folder} has checkpoints of some folds only: train the others, or use all "
                f"of weight_path under another --set name=…"
            )
        (folder,) = folders
        path = folder / "ids_train.npy"
        if not path.exists():
            raise UserError(
                f"{path} does not exist, so it is not known which samples the weights in {folder} "
                f"were trained on: restore it beside them"
            )
        ids = load_array(path)
        if not set(ids) & set(self.train["id"]):
            return True
        plain, before = to_plain(self.config), read_json(folder / "config.json")
        same_split = all(
            plain[key] == before.get(key) for key in ("cv", "splitter", "splitter_params")
        )
        if (
            np.array_equal(ids, self.train["id"].to_numpy(str))
            and same_split
            and all(path.name == f"fold{fold}.pt" for fold, path in sources.items())
        ):
            return False
        raise UserError(
            f"the networks in {folder} were trained on some of the samples of "
            f"{self.config.train_path} and not on these folds, so that a score would flatter: "
            f"use the same samples, cv and splitter with weight_path={folder}, or other samples"
        )

    def prediction_stamp(self, sources: dict[int, Path]) -> dict[str, Any]:
        """What the predictions depend on; predictions are made anew when any of it changes."""
        weights = {}
        for fold, path in sources.items():
            if not path.is_file():
                load_checkpoint(path)  # says what is missing and what to do
            stat = path.stat()
            weights[str(fold)] = [str(path), stat.st_size, stat.st_mtime_ns]
        return {
            "views": list(self.view_names), "weights": weights, "config": to_plain(self.config),
            "train": [self.config.train_path, len(self.train)],
            "test": [self.config.test_path, len(self.test)],
        }  # fmt: skip

    def predictions_are_current(self, stamp: dict[str, Any], suffix: str) -> bool:
        arrays = [self.folder / f"{kind}{suffix}.npy" for kind in ("outoffolds", "predictions")]
        path = self.folder / f"predictions{suffix}.json"
        ids = self.folder / "ids_test.npy"
        arrays += [ids, self.folder / "folds.npy"]
        return (
            path.exists()
            and all(array.exists() for array in arrays)
            and read_json(path) == stamp
            and np.array_equal(load_array(ids), self.test["id"].to_numpy(str))
        )

    def write_history(self) -> None:
        """Write the learning curves of every fold that has a checkpoint, also of earlier runs."""
        histories = {}
        for fold in range(len(self.folds)):
            if fold in self.states:
                histories[fold] = self.states[fold].history
            elif (self.folder / f"fold{fold}_last.pt").exists():
                content = load_checkpoint(self.folder / f"fold{fold}_last.pt", ("state",))
                histories[fold] = content["state"]["history"]
        if histories and distributed.is_main():
            write_history(self.folder / "history.csv", histories)
