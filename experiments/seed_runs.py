"""A run of several seeds: `seeds = (0, 1, 2)` of a config.

Each seed is trained as a run of its own, in results/<name>/seed<k>/, by the same folds. Here that
is begun, and the predictions are averaged: results/<name>/ holds the arrays of one run, so that
stacking, pseudo-labels and the report read it as such. The mean is that of the probabilities, as
over the folds: the submission is the mean over all networks.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configuration.config_class import ConfigMeta
from experiments.current_predictions import has_other_arrays
from experiments.existing_run import ANEW, ExistingRun
from experiments.experiment import Experiment
from experiments.npy_files import save_array
from experiments.prediction_stamp import predicted_identity, read_stamp
from experiments.predictions import Predictions, read_predictions
from experiments.run_directory import RunDirectory
from experiments.run_options import RunOptions
from experiments.run_records import read_run_config
from experiments.scores import blend_folds
from experiments.seed_folders import check_seeds, config_of_seed, seed_folder, seeds_in
from experiments.summary import LOSS_BY_STEP, read_history
from experiments.targets import outputs_of
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path, read_json_object, write_json
from runtime.locks import hold, run_lock
from training import distributed


class SeedRuns:
    """The runs of a config's seeds, and the run directory of their mean.

    Args:
        config: with `seeds`.
        options: of the command line.
        device: where the networks are trained.

    Raises:
        UserError: the seeds make no sense, or as in `Experiment`.
    """

    def __init__(self, config: ConfigMeta, options: RunOptions, device: torch.device) -> None:
        check_seeds(config)
        if not outputs_of(config).is_plain:
            raise UserError(
                f"seeds = {tuple(config.seeds)}: the mean over seeds is that of probabilities of a "
                f"signal alone, and {config.__name__} has other targets or side_targets: train one "
                f"seed at a time, each with a name of its own, --set seeds=() seed=1 name=…"
            )
        self.config, self.options, self.device = config, options, device
        # One is made now, so that what is wrong with the tables is said before anything is written.
        self.first = self.experiment(self.seeds[0])
        self.directory = RunDirectory(
            Path(options.results) / config.name, config, self.first.directory.samples
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds to work on: all, or the one asked for."""
        limit = self.options.limit_seed
        return tuple(self.config.seeds) if limit is None else (limit,)

    @property
    def is_limited(self) -> bool:
        """Whether other processes may train other folds or seeds, so that nothing is averaged."""
        return self.options.limit_seed is not None or self.options.limit_fold is not None

    def experiment(self, seed: int) -> Experiment:
        """Return the run of one seed."""
        options = replace(self.options, seed=seed)
        return Experiment(config_of_seed(self.config, seed), options, self.device)

    def experiments(self) -> Iterator[Experiment]:
        """Yield the run of each seed, made when its turn comes: each reads the tables."""
        yield self.first
        for seed in self.seeds[1:]:
            yield self.experiment(seed)

    def lock(self) -> contextlib.AbstractContextManager:
        """Hold the directory; runs of single seeds or folds share it, and hold a part each."""
        if not distributed.is_main():
            return contextlib.nullcontext()
        if self.is_limited:
            return hold(self.directory.path / ".lock", shared=True)
        return run_lock(self.directory.path)

    # --- the start ---------------------------------------------------------------------------

    def begin(self) -> None:
        """See that what lies there may be kept, move it aside if asked to, and record the start.

        Raises:
            UserError: a run without seeds, or finished work that is neither continued nor moved
                aside, lies there.
        """
        options, directory = self.options, self.directory
        if distributed.is_main():
            directory.complete_interrupted_move()
        distributed.barrier()
        if options.inference:
            return  # nothing of the start is changed
        anew = options.overwrite and not self.is_limited
        if not anew and not options.dry_run:
            self.check_what_is_there()
        distributed.barrier()  # all have read what the first now changes
        if distributed.is_main():
            with hold(directory.path / ".begin.lock", wait=True):
                if options.dry_run and directory.existing.holds_dry_runs_only():
                    directory.clear()
                elif anew or options.dry_run:
                    directory.move_all_aside()
                directory.write_config(trains=True)
                directory.add_start(self.device, options.dry_run)
                directory.write_samples()
        distributed.barrier()

    def check_what_is_there(self) -> None:
        """Refuse a run without seeds, with seeds that this run lacks, or with finished work.

        Raises:
            UserError: one is there.
        """
        options, folder, existing = self.options, self.directory.path, self.directory.existing
        if existing.other_folds(()):
            raise UserError(f"{folder} is a run without seeds: {ANEW}")
        before = read_run_config(folder).get("seeds", [])
        missing = [seed for seed in before if seed not in self.config.seeds]
        if missing:
            raise UserError(
                f"{folder} is a run of the seeds {format_seeds(before)}, and this run has "
                f"{format_seeds(self.config.seeds)}: a run may be given more seeds, not fewer: "
                f"--set seeds=[{','.join(map(str, before))}], or {ANEW}"
            )
        if options.continues:
            return
        if not self.is_limited:
            existing.check_start_anew((), options.overwrite)
        # Of the last seed too, before the first is trained.
        for seed in self.seeds:
            of_seed = ExistingRun(seed_folder(folder, seed), self.config, existing.samples)
            of_seed.check_start_anew(self.first.fold_numbers, options.overwrite)

    # --- the mean ----------------------------------------------------------------------------

    def average(self, suffix: str) -> None:
        """Write the mean of the seeds' predictions, with a record of what it is of.

        Predictions of other networks that lie there are moved aside: those of the seeds, which they
        can be made from again, are where they were.

        Args:
            suffix: '' or '_tta'.

        Raises:
            UserError: a seed has no predictions, or they are of other samples or folds.
        """
        directory = self.directory
        runs = {seed: self.read_seed(seed, suffix) for seed in self.config.seeds}
        stamps = {seed: read_stamp(run.folder, suffix) for seed, run in runs.items()}
        stamp = average_stamps(self.config.name, stamps)
        stamp["config"] = {**stamp["config"], "seeds": list(self.config.seeds)}
        logits = np.stack([run.logits for run in runs.values()])  # (seeds, folds, m)
        arrays = {
            f"outoffolds{suffix}.npy": mean_logits([run.out_of_fold for run in runs.values()]),
            f"predictions{suffix}.npy": mean_logits(logits),
        }
        existing = directory.existing
        if has_other_arrays(directory.path, arrays) or (
            existing.has(f"predictions{suffix}") and read_stamp(directory.path, suffix) != stamp
        ):
            directory.move_predictions_aside(suffix)
        if not (directory.path / "config.json").exists():
            directory.write_config(trains=False)
            directory.add_start(self.device, self.options.dry_run)
        directory.write_samples()
        for table in ("history.csv", LOSS_BY_STEP):
            write_history_of_seeds(directory.path, self.config.seeds, table)
        labels = seed_folder(directory.path, self.config.seeds[0]) / "pseudo_labels.json"
        if labels.is_file():  # the stack asks which run has labelled the test samples
            write_json(directory.path / labels.name, read_json_object(labels))
        for name, array in arrays.items():
            save_array(directory.path / name, array)
        # Written last: it says that the arrays are whole.
        write_json(directory.path / f"predictions{suffix}.json", stamp)
        LOGGER.info(
            f"the mean over the seeds {format_seeds(self.config.seeds)} is in {directory.path}"
        )

    def read_seed(self, seed: int, suffix: str) -> Predictions:
        """Return the predictions of one seed.

        Raises:
            UserError: there are none, or they are of other samples or folds than this run has.
        """
        folder = seed_folder(self.directory.path, seed)
        run, samples = read_predictions(folder, suffix), self.directory.samples
        for found, wanted in (
            (run.train_ids, samples.train_ids),
            (run.test_ids, samples.test_ids),
            (run.folds, samples.folds),
        ):
            if not np.array_equal(found, wanted):
                raise UserError(
                    f"{folder} has predictions of other samples or folds than this run: predict "
                    f"again with --inference --overwrite{' --tta' if suffix else ''}"
                )
        return run


def mean_logits(logits: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return the log-odds of the mean probability over the seeds, float32.

    Args:
        logits: (seeds, n) or (seeds, folds, m); NaN of any seed is NaN in the mean.

    Returns:
        (n, 1) or (folds, m, 1).
    """
    stacked = np.stack(list(logits))
    with np.errstate(invalid="ignore"):
        mean = blend_folds(stacked.reshape(len(stacked), -1))  # (seeds, all) -> (all,)
    return mean.reshape(*stacked.shape[1:], 1).astype(np.float32)


def average_stamps(name: str, stamps: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the content of predictions.json for the mean over seeds.

    Its keys are those that fold_record.py lists, and `seeds`: what the predictions of each seed
    are of, as `predicted_identity` digests it, by which a change of theirs is noticed.

    Args:
        name: of the run.
        stamps: of each seed's predictions.
    """
    first = next(iter(stamps.values()))
    folds = {}
    for fold in first["folds"]:
        entries = [stamp["folds"].get(fold, {}) for stamp in stamps.values()]
        digests = [entry.get("weights") or "" for entry in entries]
        folds[fold] = {
            "weights": predicted_identity({"weights": digests}),
            "finished": all(entry.get("finished", False) for entry in entries),
            "epoch": min(entry.get("epoch") or 0 for entry in entries),
            "own": all(entry.get("own", False) for entry in entries),
            "file": f"{name}/seed*/fold{fold}.pt",
            "pseudo_labelled_test_samples": max(
                entry.get("pseudo_labelled_test_samples") or 0 for entry in entries
            ),
        }
    identities = {str(seed): predicted_identity(stamp) for seed, stamp in stamps.items()}
    return {**first, "folds": folds, "seeds": identities}


def write_history_of_seeds(folder: Path, seeds: Sequence[int], name: str = "history.csv") -> None:
    """Write the learning curves of all seeds as one CSV, one row per seed, fold and point."""
    rows = [
        {"seed": seed, **row}
        for seed in seeds
        for row in read_history(seed_folder(folder, seed) / name)
    ]
    if not rows:
        return
    names = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(folder / name) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def format_seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if seeds else "none"


def check_limit(config: ConfigMeta, limit_seed: int | None) -> None:
    """Refuse --limit_seed of a seed that a config does not have.

    Raises:
        UserError: it has others, or none.
    """
    if limit_seed is None or limit_seed in config.seeds:
        return
    there = (
        f"has the seeds {format_seeds(config.seeds)}"
        if config.seeds
        else "has no seeds: add --set seeds=[0,1,2], or leave --limit_seed out"
    )
    raise UserError(f"--limit_seed {limit_seed}: {config.__name__} {there}")


def summaries_of_seeds(folder: Path, suffix: str) -> dict[str, dict[str, Any]]:
    """Return the summary of each seed of a run, by its number as text."""
    return {
        str(seed): read_json_object(seed_folder(folder, seed) / f"summary{suffix}.json")
        for seed in seeds_in(folder)
        if (seed_folder(folder, seed) / f"summary{suffix}.json").is_file()
    }
