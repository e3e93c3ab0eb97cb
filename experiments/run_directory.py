"""The directory of a run, results/<name>/: what may be kept of it, what a run writes of itself.

config.json, run.json       the resolved config; every start with versions, revision, command
fold<k>.pt, fold<k>_last.pt the best weights of a fold; all that resuming it needs
fold<k>.json                the record of a fold: how far it is, what it was trained from, its
                            learning curve; see fold_record.py
history.csv, tensorboard/   the learning curves of all folds
pseudo_labels.json          figures of the labels that the test samples were given, if any
ids_pseudo_labelled.npy     and the ids of these samples
.lock, .fold<k>.lock        held by whoever works on it; see runtime/locks.py
and, from inference.py, the arrays that predictions.py describes and what is made of them

Nothing that lies there is deleted: what a start does not keep is moved aside, see moved_aside.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from experiments.building import provenance
from experiments.fold_plan import FoldAction, FoldPlan, plan_fold
from experiments.fold_record import FoldRecord, read_fold
from experiments.moved_aside import JOURNAL, complete_move, move_aside
from experiments.npy_files import load_array, save_array
from experiments.prediction_stamp import read_stamp, samples_digest
from experiments.run_identity import (
    LOCATIONS,
    TrainedFrom,
    changed_settings,
    deciding_settings,
    explain_difference,
    explain_rows_per_step,
    labelled_samples_digest,
    settings_digest,
)
from experiments.run_records import read_fold_state, read_run_config, read_starts
from experiments.summary import write_history
from runtime.errors import UserError
from runtime.files import TEMPORARY, read_json_object, write_json
from runtime.locks import hold, is_held
from training import distributed

PREDICTED = (
    "outoffolds*.npy",
    "predictions*.npy",
    "predictions*.json",
    "submission*.csv",
    "summary*.json",
    "summary*.png",
)
# What a reader of weights or predictions needs beside them.
DESCRIPTIONS = (
    "config.json",
    "run.json",
    "ids_train.npy",
    "ids_test.npy",
    "folds.npy",
    "history.csv",
    "pseudo_labels.json",
    "ids_pseudo_labelled.npy",
)
ANEW = (
    "start all its folds anew with --overwrite, which moves them aside, or give this run a folder "
    "of its own with --set name=…"
)
FOLD_FILE = re.compile(r"fold(\d+)(_last)?\.(pt|json)")


class RunDirectory:
    """The directory of one experiment.

    Args:
        path: results/<name>.
        config: what the run is.
        train_ids, test_ids: (n,) and (m,) text, its samples.
        folds: (n,) the fold that each training row is validated in.
        targets: (n,) of the training rows.
    """

    def __init__(
        self,
        path: Path,
        config: ConfigMeta,
        train_ids: np.ndarray,
        test_ids: np.ndarray,
        folds: np.ndarray,
        targets: np.ndarray,
    ) -> None:
        self.path, self.config = path, config
        self.samples = labelled_samples_digest(train_ids, targets, folds)
        self.train_ids, self.test_ids, self.folds = train_ids, test_ids, folds

    def weights(self, fold: int) -> Path:
        return self.path / f"fold{fold}.pt"

    # --- what is there -----------------------------------------------------------------------

    def other_folds(self, chosen: Sequence[int]) -> list[int]:
        """Return the folds, beside those chosen, that have files or are being trained just now."""
        names = [path.name for path in self.path.glob("*")]
        there = {int(match[1]) for name in names if (match := FOLD_FILE.fullmatch(name))}
        for name in names:
            match = re.fullmatch(r"\.fold(\d+)\.lock", name)
            if match and is_held(self.path / name):
                there.add(int(match[1]))
        return sorted(there - set(chosen))

    def finished_work(self, chosen: Sequence[int]) -> list[str]:
        """Return what is finished of the chosen folds and of the predictions, in words."""
        found = [
            f"fold {fold}" for fold in chosen if read_fold(self.weights(fold)).has_final_weights
        ]
        return found + [name for name in ("predictions", "predictions_tta") if self.has(name)]

    def has(self, predictions: str) -> bool:
        """Whether predictions are whole: the arrays and, written last, what they are of."""
        suffix = predictions.removeprefix("predictions")
        names = [f"outoffolds{suffix}.npy", f"{predictions}.npy", f"{predictions}.json"]
        return all((self.path / name).exists() for name in names)

    def predicted_names(self) -> list[str]:
        """Return the names of predictions, whole or not, and of what was made of them."""
        return [path.name for pattern in PREDICTED for path in self.path.glob(pattern)]

    # --- what may be kept --------------------------------------------------------------------

    def check_start_anew(self, chosen: Sequence[int], overwrite: bool) -> None:
        """Refuse to start folds anew while anything finished lies there.

        Raises:
            UserError: some does, and `overwrite` is not set.
        """
        finished = [] if overwrite else self.finished_work(chosen)
        if finished:
            raise UserError(
                f"{self.path} holds finished work ({', '.join(finished)}), and nothing was "
                f"changed: --resume continues that run; --overwrite moves it aside to "
                f"{self.path}.<time> and starts anew"
            )

    def check_kept_folds(self, labels: str | None = None) -> None:
        """Refuse to keep folds of another experiment beside, or as, those to be trained.

        Args:
            labels: the digest of the pseudo-labels that this run learns from.

        Raises:
            UserError: they had another config, other samples or other labels.
        """
        config_path = self.path / "config.json"
        if config_path.exists():
            self.check_config(config_path)
        else:
            self.check_settings_of_folds()
        self.check_ids()
        self.check_folds()
        path = self.path / "pseudo_labels.json"
        if labels is not None and path.exists() and read_json_object(path).get("digest") != labels:
            source = self.config.pseudo_labels.params["source"]
            raise UserError(
                f"the predictions of {source} have changed since {self.path} was begun: {ANEW}"
            )

    def check_config(self, config_path: Path) -> None:
        """Refuse folds that were trained with another config.

        Raises:
            UserError: they were, or this run asks for fewer epochs.
        """
        before = read_run_config(self.path)
        changed = changed_settings(self.config, before)
        epochs = before.get("num_epochs", self.config.num_epochs)
        if self.config.num_epochs > epochs and "scheduler_params" in changed:
            changed.remove("scheduler_params")  # a longer training has a longer schedule
        if changed:
            raise UserError(f"{config_path} differs from this run in {', '.join(changed)}: {ANEW}")
        if self.config.num_epochs < epochs:
            raise UserError(
                f"num_epochs = {self.config.num_epochs}, and {config_path} says {epochs}: a run "
                f"may be given more epochs, not fewer: --set num_epochs={epochs}, or {ANEW}"
            )

    def check_settings_of_folds(self) -> None:
        """Refuse folds that were trained with other settings where config.json is missing.

        Each record has a digest of the settings, which tells that they differ but not in what.
        Where config.json exists it is compared instead: it may lack settings that are newer.

        Raises:
            UserError: they were; or a fold is older than these digests.
        """
        now = settings_digest(deciding_settings(to_plain(self.config)))
        for fold in self.other_folds(()):
            record = self.record(fold)
            if not record.is_known:
                continue  # weights of another toolkit
            before = record.trained_from.get("settings")
            if before == now:
                continue
            why = (
                f"so that it is not known with which settings fold {fold} was trained"
                if before is None
                else f"and fold {fold} was trained with other settings than those of this run"
            )
            raise UserError(f"{self.path / 'config.json'} is missing, {why}: restore it; or {ANEW}")

    def have_folds_these_samples(self) -> bool:
        """Whether the records of folds that are there say that they learnt from these samples.

        They have digests of ids, targets and folds. ids_train.npy and folds.npy are then known
        from the table, and may be missing or damaged.
        """
        states = [self.state(fold) or self.record(fold).state for fold in self.other_folds(())]
        recorded = {state.get("trained_from", {}).get("samples") for state in states if state}
        return recorded == {self.samples}

    def record(self, fold: int) -> FoldRecord:
        return read_fold(self.weights(fold))

    def read_rows(self, name: str, kind: str) -> np.ndarray | None:
        """Return the ids or the folds that lie there; None where there are none.

        Args:
            name: of the file.
            kind: of its type, as numpy calls it.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            rows = load_array(path)
        except UserError:
            rows = None
        if rows is None or rows.ndim != 1 or rows.dtype.kind != kind:
            raise UserError(
                f"{path} is damaged, and no record of a fold says that it was trained on the "
                f"samples of {self.config.train_path}: restore it, or {ANEW}"
            )
        return rows

    def check_ids(self) -> None:
        """Refuse a directory whose networks were trained on other samples than these.

        A network may have been trained on any of them, so its score would flatter.

        Raises:
            UserError: they were, or it is not known.
        """
        if self.have_folds_these_samples():
            return
        there = self.read_rows("ids_train.npy", "U")
        if there is not None and not np.array_equal(there, self.train_ids):
            raise UserError(
                f"{self.path} belongs to other training samples than {self.config.train_path}: "
                f"give this run a folder of its own with --set name=… (and, to use the networks "
                f"there, weight_path={self.path})"
            )

    def check_folds(self) -> None:
        """Refuse a directory whose networks were trained on the same samples in other folds.

        Raises:
            UserError: they were, or it is not known.
        """
        if self.have_folds_these_samples():
            return
        there = self.read_rows("folds.npy", "i")
        if there is not None and not np.array_equal(there, self.folds):
            raise UserError(
                f"{self.path / 'folds.npy'} has other folds than {self.config.train_path} gives "
                f"now, as other targets or another splitter make them, so that its networks would "
                f"be scored on samples they learnt from: restore the table as it was; or {ANEW}"
            )

    def check_test_samples(self, overwrite: bool) -> None:
        """Refuse to replace predictions of other test samples.

        Raises:
            UserError: whole predictions of others are there, and `overwrite` is not set.
        """
        kept = [name for name in ("predictions", "predictions_tta") if self.has(name)]
        if overwrite or not kept or not self.are_of_other_test_samples(kept):
            return
        raise UserError(
            f"{self.path} holds {' and '.join(kept)} of other test samples than "
            f"{self.config.test_path}: predict these into a folder of their own with "
            f"--inference --set name=… weight_path={self.path}; or --inference --overwrite moves "
            f"those there aside, and trains nothing"
        )

    def are_of_other_test_samples(self, kept: Sequence[str]) -> bool:
        """Whether predictions are of other test samples, by their ids or else by their records."""
        try:
            there = self.read_rows("ids_test.npy", "U")
        except UserError:
            there = None
        if there is not None:
            return not np.array_equal(there, self.test_ids)
        return not self.are_of_these_rows(kept)

    def are_of_these_rows(self, kept: Sequence[str]) -> bool:
        """Whether the records of predictions name these ids and folds, in this order."""
        mine = samples_digest(self.train_ids, self.test_ids, self.folds)
        suffixes = [name.removeprefix("predictions") for name in kept]
        return all(read_stamp(self.path, suffix).get("samples") == mine for suffix in suffixes)

    def plan(
        self,
        fold: int,
        trained_from: TrainedFrom,
        begins: bool,
        skip_existing: bool,
        allow_unfinished: bool,
    ) -> FoldPlan:
        """Return what a start that continues this run does with a fold.

        Args:
            begins: whether any fold is still to be begun.

        Raises:
            UserError: the fold was trained from something else than this run would train it from,
                or as in `plan_fold`.
        """
        record = read_fold(self.weights(fold))
        plan = plan_fold(fold, record, self.config.num_epochs, skip_existing, allow_unfinished)
        if not skip_existing:
            self.check_trained_from(record, trained_from, fold, True, begins, plan.trains)
        return plan

    def check_trained_from(
        self,
        record: FoldRecord,
        trained_from: TrainedFrom,
        fold: int,
        same_fold: bool,
        begins: bool,
        trains: bool,
    ) -> None:
        """Refuse a fold that was trained from something else than this run trains from.

        Args:
            record: of a fold that is kept or continued.
            fold: its number.
            same_fold: whether `trained_from` is of this very fold.
            begins: whether any fold is still to be begun.
            trains: whether anything is trained, beside or after it.

        Raises:
            UserError: it was.
        """
        before = record.trained_from
        difference = explain_difference(before, trained_from, same_fold, begins)
        if difference is not None:
            raise UserError(
                f"fold {fold} of {self.path} is of another training, as {difference}: restore "
                f"that, or {ANEW}"
            )
        rows = explain_rows_per_step(before, self.config, distributed.world_size())
        if rows is not None and trains:
            raise UserError(f"fold {fold} of {self.path} is of another training, as {rows}")

    # --- what a run writes -------------------------------------------------------------------

    def begin(
        self,
        plans: Sequence[FoldPlan],
        continues: bool,
        device: torch.device,
        labels: dict[str, Any] | None,
        limited: bool = False,
        labelled_ids: np.ndarray | None = None,
        is_dry_run: bool = False,
    ) -> None:
        """Move aside what no longer holds, and write what the run is.

        Args:
            plans: of the folds to be worked on.
            continues: whether the run that is there is continued.
            labels: figures of the pseudo-labels.
            limited: whether folds beside these stay as they are.
            labelled_ids: ids of the pseudo-labelled test samples.
            is_dry_run: delete what an earlier dry run left instead.

        Raises:
            UserError: another fold has begun meanwhile, of another experiment.
        """
        folds = [plan.fold for plan in plans]
        with hold(self.path / ".begin.lock", wait=True):
            others = limited and bool(self.other_folds(folds))
            if (continues or others) and not is_dry_run:
                self.check_kept_folds(labels and labels["digest"])
            self.remove_temporaries(folds[0] if limited else None)
            if is_dry_run and self.holds_dry_runs_only():
                self.clear()
            elif is_dry_run:
                self.move_all_aside()
            elif continues:
                self.set_aside_before_training(plans)
            elif others:
                self.move_fold_aside(folds)
            else:
                self.move_all_aside()
            self.write_config(any(plan.trains for plan in plans))
            self.add_start(device, is_dry_run)
            self.write_samples()
            for plan in plans:
                self.restore_record(plan)
            if labels is not None:
                write_json(self.path / "pseudo_labels.json", labels)
                save_array(self.path / "ids_pseudo_labelled.npy", labelled_ids)

    def complete_interrupted_move(self) -> None:
        """Complete a move that was killed half-way."""
        if (self.path / JOURNAL).exists():
            with hold(self.path / ".begin.lock", wait=True):
                complete_move(self.path)

    def set_aside_before_training(self, plans: Sequence[FoldPlan]) -> None:
        """Move predictions aside that further training outdates; copy folds that are extended."""
        training = [plan for plan in plans if plan.trains]
        if not training:
            return
        # One that was killed while it was extended has been copied at that start.
        extended = [
            p for p in training if p.action is FoldAction.EXTEND and p.record.has_final_weights
        ]
        copies = [name for plan in extended for name in self.names_of_fold(plan.fold)]
        # A pipeline would take a fold that is trained just now for done.
        marks = [f"fold{plan.fold}.done" for plan in training]
        move_aside(self.path, [*self.made_with_weights(), *marks], copies, DESCRIPTIONS)

    def names_of_fold(self, fold: int) -> list[str]:
        """Return the names of a fold's files; a pipeline's mark that it is done is one of them."""
        names = [f"fold{fold}{end}" for end in ("_last.pt", ".json", ".pt", ".done")]
        return [name for name in names if (self.path / name).exists()]

    def move_fold_aside(self, folds: Sequence[int]) -> None:
        """Move aside the files of folds that are trained anew, and predictions made with them."""
        names = [name for fold in folds for name in self.names_of_fold(fold)]
        names += [f"tensorboard/fold{fold}" for fold in folds]
        move_aside(self.path, [*names, *self.made_with_weights()], described_by=DESCRIPTIONS)

    def move_all_aside(self) -> None:
        """Move everything aside but locks and the log that is being written.

        A directory that holds no more than descriptions is of a run that left nothing.
        """
        names = [path.name for path in self.path.iterdir() if not stays(path)]
        if set(names) - set(DESCRIPTIONS):
            move_aside(self.path, names)
        else:
            (self.path / "run.json").unlink(missing_ok=True)  # its starts left no weights

    def holds_dry_runs_only(self) -> bool:
        """Whether every start that wrote here was a dry run, whose results are worth nothing."""
        starts = read_starts(self.path)
        return bool(starts) and all(start.get("dry_run") for start in starts)

    def clear(self) -> None:
        """Delete what an earlier dry run left."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not stays(path):
                path.unlink()

    def write_config(self, trains: bool) -> None:
        """Write the config; where nothing is trained, of its changes only where samples lie now."""
        path, plain = self.path / "config.json", to_plain(self.config)
        if path.exists() and not trains:
            plain |= {k: v for k, v in read_run_config(self.path).items() if k not in LOCATIONS}
        write_json(path, plain)

    def add_start(self, device: torch.device, is_dry_run: bool = False) -> None:
        """Add this start to run.json; the weights may come from any of those listed."""
        starts = read_starts(self.path)
        start = provenance(self.config, device)
        if is_dry_run:
            start["dry_run"] = True
        write_json(self.path / "run.json", {"starts": [*starts, start]})

    def write_samples(self) -> None:
        """Write which samples the rows of all arrays belong to, and their folds.

        Arrays of other samples or folds that lie there are moved aside with their predictions.
        """
        arrays = {
            "ids_train.npy": self.train_ids,
            "ids_test.npy": self.test_ids,
            "folds.npy": self.folds,
        }
        wrong = {name: a for name, a in arrays.items() if not is_saved(self.path / name, a)}
        if not wrong:
            return
        kept = [name for name in ("predictions", "predictions_tta") if self.has(name)]
        if kept and self.are_of_these_rows(kept):
            move_aside(self.path, wrong)  # these files are damaged, and not the predictions
        else:
            self.move_predictions_aside()
        for name, array in wrong.items():
            save_array(self.path / name, array)

    def made_with_weights(self) -> list[str]:
        """Return the names of all that was made with the weights of this run."""
        return [*self.predicted_names(), *(["detect"] if (self.path / "detect").exists() else [])]

    def move_predictions_aside(self, suffix: str | None = None) -> None:
        """Move predictions aside, and what was made of them.

        Args:
            suffix: '' or '_tta', of those to move; None moves both.
        """
        names = self.predicted_names()
        if suffix is not None:
            names = [name for name in names if Path(name).stem.endswith("_tta") == bool(suffix)]
        move_aside(self.path, names, described_by=DESCRIPTIONS)

    def remove_temporaries(self, fold: int | None = None) -> None:
        """Remove what a killed run was writing, of those files that this run holds the lock of.

        Args:
            fold: the one that is held, beside runs of others; None where the directory is.
        """
        stem = ".+" if fold is None else rf"fold{fold}(_last)?"
        for path in self.path.glob(".*.tmp*"):
            if re.fullmatch(rf"\.{stem}{TEMPORARY}", path.name):
                path.unlink(missing_ok=True)

    def restore_record(self, plan: FoldPlan) -> None:
        """Write fold<k>.json again from a checkpoint, if it is missing or empty for a kept fold."""
        path = self.weights(plan.fold).with_suffix(".json")
        if not plan.trains and plan.record.is_known and not read_fold_state(path):
            write_json(path, dict(plan.record.state))

    def write_history(self) -> None:
        """Write the learning curves of all folds so far, also of earlier runs, as one CSV."""
        states = {fold: self.state(fold) for fold in range(int(self.folds.max()) + 1)}
        histories = {fold: state.get("history", []) for fold, state in states.items() if state}
        if histories:
            write_history(self.path / "history.csv", histories)

    def state(self, fold: int) -> dict[str, Any]:
        """Return how far a fold is, as its trainer wrote it; {} where it has not begun."""
        return read_fold_state(self.path / f"fold{fold}.json")


def is_saved(path: Path, array: np.ndarray) -> bool:
    """Whether a file holds an array; a damaged or missing one does not."""
    try:
        return np.array_equal(load_array(path), array)
    except UserError:
        return False


def stays(path: Path) -> bool:
    """Whether a file is no result: a lock, or a log, which says itself when it was written."""
    return path.name.startswith(".") or path.suffix == ".log"
