"""The directory of a run, results/<name>/: what a run writes of itself, and what it moves aside.

config.json, run.json       the resolved config; every start with versions, revision, command
fold<k>.pt, fold<k>_last.pt the best weights of a fold; all that resuming it needs
fold<k>.json                the record of a fold: how far it is, what it was trained from, its
                            learning curve; see fold_record.py
history.csv, tensorboard/   the learning curves of all folds
loss_by_step.csv            their training loss within the epochs
tracking/                   what other trackers call their runs, and their files
fold<k>_epoch<n>.pt         weights of the epochs that are averaged, if any
pseudo_labels.json          figures of the labels that the test samples were given, if any
ids_pseudo_labelled.npy     and the ids of these samples
.lock, .fold<k>.lock        held by the process that works on it; see runtime/locks.py
and, from inference.py, the arrays that predictions.py describes and what is made of them

Nothing that lies there is deleted: what a start does not keep is moved aside, see moved_aside.py.
existing_run.py decides what may be kept.
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
from experiments.building import provenance
from experiments.existing_run import ExistingRun, is_saved
from experiments.fold_plan import FoldAction, FoldPlan
from experiments.moved_aside import JOURNAL, complete_move, move_aside
from experiments.npy_files import save_array
from experiments.observation_record import plain_config
from experiments.run_identity import LOCATIONS, RunSamples
from experiments.run_records import read_fold_state, read_run_config, read_starts
from experiments.summary import LOSS_BY_STEP, write_history
from runtime.files import TEMPORARY, write_json
from runtime.locks import hold
from training.loss_by_step import loss_points

# What a reader of weights or predictions needs beside them.
DESCRIPTIONS = (
    "config.json",
    "run.json",
    "ids_train.npy",
    "ids_test.npy",
    "folds.npy",
    "history.csv",
    LOSS_BY_STEP,
    "pseudo_labels.json",
    "ids_pseudo_labelled.npy",
)


class RunDirectory:
    """The directory of one experiment.

    Args:
        path: results/<name>.
        config: what the run is.
        samples: its samples.
    """

    def __init__(self, path: Path, config: ConfigMeta, samples: RunSamples) -> None:
        self.path, self.config, self.samples = path, config, samples

    @property
    def existing(self) -> ExistingRun:
        """What lies there already."""
        return ExistingRun(self.path, self.config, self.samples)

    def weights(self, fold: int) -> Path:
        return self.existing.weights(fold)

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
        # Processes of several folds may begin at once: one after the other decides and moves.
        with hold(self.path / ".begin.lock", wait=True):
            others = limited and bool(self.existing.other_folds(folds))
            if (continues or others) and not is_dry_run:
                self.existing.check_kept_folds(labels and labels["digest"])
            self.remove_temporaries(folds[0] if limited else None)
            if is_dry_run and self.existing.holds_dry_runs_only():
                self.clear()
            elif is_dry_run:
                self.move_all_aside()
            elif continues:
                self.set_aside_before_training(plans)
            elif others:
                self.move_fold_aside(folds)
            else:
                self.move_all_aside()
            # After the move: the old config lies with the old results.
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
        copies = [name for plan in extended for name in self.existing.names_of_fold(plan.fold)]
        # A pipeline would take a fold that is trained just now for done.
        marks = [f"fold{plan.fold}.done" for plan in training]
        move_aside(self.path, [*self.existing.made_with_weights(), *marks], copies, DESCRIPTIONS)

    def move_fold_aside(self, folds: Sequence[int]) -> None:
        """Move aside the files of folds that are trained anew, and predictions made with them."""
        names = [name for fold in folds for name in self.existing.names_of_fold(fold)]
        names += [f"{where}/fold{fold}" for where in ("tensorboard", "tracking") for fold in folds]
        move_aside(
            self.path, [*names, *self.existing.made_with_weights()], described_by=DESCRIPTIONS
        )

    def move_all_aside(self) -> None:
        """Move everything aside but locks and the log that is being written.

        A directory that holds only descriptions belongs to a run that left no results.
        """
        names = [path.name for path in self.path.iterdir() if not stays(path)]
        if set(names) - set(DESCRIPTIONS):
            move_aside(self.path, names)
        else:
            (self.path / "run.json").unlink(missing_ok=True)  # its starts left no weights

    def clear(self) -> None:
        """Delete what an earlier dry run left."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not stays(path):
                path.unlink()

    def write_config(self, trains: bool) -> None:
        """Write the config; where nothing is trained, of its changes only where samples lie now."""
        path, plain = self.path / "config.json", plain_config(self.config)
        if not trains:
            before = read_run_config(self.path) or self.existing.recorded_settings()
            plain |= {k: v for k, v in before.items() if k not in LOCATIONS}
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
            "ids_train.npy": self.samples.train_ids,
            "ids_test.npy": self.samples.test_ids,
            "folds.npy": self.samples.folds,
        }
        wrong = {name: a for name, a in arrays.items() if not is_saved(self.path / name, a)}
        if not wrong:
            return
        kept = [name for name in ("predictions", "predictions_tta") if self.existing.has(name)]
        if kept and self.existing.are_of_these_rows(kept):
            move_aside(self.path, wrong)  # these files are damaged, and not the predictions
        else:
            self.move_predictions_aside()
        for name, array in wrong.items():
            save_array(self.path / name, array)

    def move_predictions_aside(self, suffix: str | None = None) -> None:
        """Move predictions aside, and what was made of them.

        Args:
            suffix: '' or '_tta', of those to move; None moves both.
        """
        names = self.existing.predicted_names()
        if suffix is not None:
            names = [name for name in names if Path(name).stem.endswith("_tta") == bool(suffix)]
        move_aside(self.path, names, described_by=DESCRIPTIONS)

    def remove_temporaries(self, fold: int | None = None) -> None:
        """Remove what a killed run was writing, of those files that this run holds the lock of.

        Args:
            fold: the one that is held, beside runs of others; None where the directory is.
        """
        # beside other processes only this fold's files are known to be nobody else's
        stem = ".+" if fold is None else rf"fold{fold}(_last|_epoch\d+)?"
        for path in self.path.glob(".*.tmp*"):
            if re.fullmatch(rf"\.{stem}{TEMPORARY}", path.name):
                path.unlink(missing_ok=True)

    def restore_record(self, plan: FoldPlan) -> None:
        """Write fold<k>.json again from a checkpoint, if it is missing or empty for a kept fold."""
        path = self.weights(plan.fold).with_suffix(".json")
        if not plan.trains and plan.record.is_known and not read_fold_state(path):
            write_json(path, dict(plan.record.state))

    def write_history(self) -> None:
        """Write the learning curves of all folds so far, also of earlier runs, as two tables."""
        states = {fold: self.existing.state(fold) for fold in range(self.config.cv)}
        histories = {fold: state.get("history", []) for fold, state in states.items() if state}
        if histories:
            write_history(self.path / "history.csv", histories)
        # Records of earlier versions have none.
        points = {
            fold: list(loss_points(state["loss_by_step"]))
            for fold, state in states.items()
            if state.get("loss_by_step")
        }
        if points:
            write_history(self.path / LOSS_BY_STEP, points)


def stays(path: Path) -> bool:
    """Whether a file is no result: a lock, or a log, which says itself when it was written."""
    return path.name.startswith(".") or path.suffix == ".log"
