"""What earlier starts left in a run directory, and whether this run may keep it.

Only reads. Folds and predictions are kept where they were made with the same settings, samples and
starting weights as this run would make them with; everything else is a `UserError` that says how
to continue the old run or to begin a new one. run_directory.py writes and moves files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configuration.config_class import ConfigMeta
from experiments.fold_plan import FoldPlan, plan_fold
from experiments.fold_record import FoldRecord, read_fold
from experiments.npy_files import load_array
from experiments.observation_record import explain_other_observation, plain_config
from experiments.own_code import ALLOW, changed_code, recorded_code
from experiments.prediction_stamp import read_stamp, samples_digest
from experiments.run_identity import (
    ADJUSTABLE,
    RunSamples,
    TrainedFrom,
    changed_settings,
    deciding_settings,
    explain_difference,
    explain_rows_per_step,
    settings_digest,
)
from experiments.run_records import read_fold_state, read_run_config, read_starts
from experiments.seed_folders import seed_folder, seeds_in
from runtime.errors import UserError
from runtime.files import read_json_object
from runtime.locks import is_held
from training import distributed

PREDICTED = (
    "outoffolds*.npy",
    "predictions*.npy",
    "predictions*.json",
    "submission*.csv",
    "summary*.json",
    "summary*.png",
)
ANEW = (
    "start all its folds anew with --overwrite, which moves them aside, or give this run a folder "
    "of its own with --set name=…"
)
FOLD_FILE = re.compile(r"fold(\d+)(_last)?\.(pt|json)")


@dataclass(frozen=True)
class ExistingRun:
    """What lies in a run directory, seen by the run that is about to work there.

    Attributes:
        path: results/<name>.
        config: what this run is.
        samples: its samples.
    """

    path: Path
    config: ConfigMeta
    samples: RunSamples

    # --- what is there -----------------------------------------------------------------------

    def weights(self, fold: int) -> Path:
        return self.path / f"fold{fold}.pt"

    def record(self, fold: int) -> FoldRecord:
        return read_fold(self.weights(fold))

    def state(self, fold: int) -> dict[str, Any]:
        """Return how far a fold is, as its trainer wrote it; {} where it has not begun."""
        return read_fold_state(self.path / f"fold{fold}.json")

    def other_folds(self, chosen: Sequence[int]) -> list[int]:
        """Return the folds, beside those chosen, that have files or are being trained just now."""
        names = [path.name for path in self.path.glob("*")]
        there = {int(match[1]) for name in names if (match := FOLD_FILE.fullmatch(name))}
        for name in names:
            match = re.fullmatch(r"\.fold(\d+)\.lock", name)
            # A fold that has just begun has a lock and no files yet.
            if match and is_held(self.path / name):
                there.add(int(match[1]))
        return sorted(there - set(chosen))

    def finished_work(self, chosen: Sequence[int]) -> list[str]:
        """Return what is finished of the chosen folds and of the predictions, in words."""
        found = [
            f"fold {fold}" for fold in chosen if read_fold(self.weights(fold)).has_final_weights
        ]
        found += [f"seed {seed}" for seed in seeds_in(self.path) if self.has_seed(seed)]
        return found + [name for name in ("predictions", "predictions_tta") if self.has(name)]

    def has_seed(self, seed: int) -> bool:
        """Whether anything of one seed is finished, where this is a run of several."""
        paths = seed_folder(self.path, seed).glob("fold*.pt")
        return any(read_fold(path).has_final_weights for path in paths if "_" not in path.name)

    def has(self, predictions: str) -> bool:
        """Whether predictions are whole: the arrays and, written last, what they are of."""
        suffix = predictions.removeprefix("predictions")
        names = [f"outoffolds{suffix}.npy", f"{predictions}.npy", f"{predictions}.json"]
        return all((self.path / name).exists() for name in names)

    def predicted_names(self) -> list[str]:
        """Return the names of predictions, whole or not, and of what was made of them."""
        return [path.name for pattern in PREDICTED for path in self.path.glob(pattern)]

    def names_of_fold(self, fold: int) -> list[str]:
        """Return the names of a fold's files; a pipeline's mark that it is done is one of them."""
        names = [f"fold{fold}{end}" for end in ("_last.pt", ".json", ".pt", ".png", ".done")]
        names += sorted(path.name for path in self.path.glob(f"fold{fold}_epoch*.pt"))
        return [name for name in names if (self.path / name).exists()]

    def made_with_weights(self) -> list[str]:
        """Return the names of all that was made with the weights of this run."""
        return [*self.predicted_names(), *(["detect"] if (self.path / "detect").exists() else [])]

    def holds_dry_runs_only(self) -> bool:
        """Whether every start that wrote here was a dry run, whose results are worth nothing."""
        starts = read_starts(self.path)
        return bool(starts) and all(start.get("dry_run") for start in starts)

    # --- whether it may be kept ---------------------------------------------------------------

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
        # The config says what differs; the records of folds only that something does.
        config_path = self.path / "config.json"
        if config_path.exists():
            self.check_config(config_path)
        else:
            self.check_settings_of_folds()
            epochs = self.recorded_settings().get("num_epochs", self.config.num_epochs)
            self.check_epochs(epochs, "the record of a fold")
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
        if "observation" in changed:
            then, now = explain_other_observation(
                before.get("observation"), plain_config(self.config)["observation"]
            )
            raise UserError(
                f"{config_path} is of a run that observes {then}, and this run observes {now}: "
                f"{ANEW}"
            )
        if changed:
            raise UserError(f"{config_path} differs from this run in {', '.join(changed)}: {ANEW}")
        self.check_epochs(epochs, str(config_path))

    def check_epochs(self, before: int, where: str) -> None:
        """Raise a UserError if this run asks for fewer epochs than it was asked for before."""
        if self.config.num_epochs < before:
            raise UserError(
                f"num_epochs = {self.config.num_epochs}, and {where} says {before}: a run may be "
                f"given more epochs, not fewer: --set num_epochs={before}, or {ANEW}"
            )

    def check_settings_of_folds(self) -> None:
        """Refuse folds that were trained with other settings where config.json is missing.

        Each record has a digest of the settings, which tells that they differ but not in what.
        Where config.json exists it is compared instead: it may lack settings that are newer.

        Raises:
            UserError: they were; or a fold is older than these digests.
        """
        now = settings_digest(deciding_settings(plain_config(self.config)))
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

    def recorded_settings(self) -> dict[str, Any]:
        """Return the adjustable settings that the folds here were trained with, by their records.

        They stand in for those of a config.json that is missing. The longest fold decides: it was
        the last that was given more epochs. Empty where no fold has a record.
        """
        found = []
        for fold in self.other_folds(()):
            record = self.record(fold)
            if record.state.get("adjusted"):
                found.append(record.state["adjusted"][-1])
            elif record.training_ended:  # older than these records
                found.append({"num_epochs": record.epoch})
        longest = max(found, key=lambda settings: settings.get("num_epochs", 0), default={})
        return {key: longest[key] for key in ADJUSTABLE if key in longest}

    def have_folds_these_samples(self) -> bool:
        """Whether the records of folds that are there say that they learnt from these samples.

        They have digests of ids, targets and folds. ids_train.npy and folds.npy are then known
        from the table, and may be missing or damaged.
        """
        states = [self.state(fold) or self.record(fold).state for fold in self.other_folds(())]
        recorded = {state.get("trained_from", {}).get("samples") for state in states if state}
        return recorded == {self.samples.labelled}

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
        if there is not None and not np.array_equal(there, self.samples.train_ids):
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
        if there is not None and not np.array_equal(there, self.samples.folds):
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
        # Damaged ids are no reason to refuse: the record of the predictions has a digest of them.
        try:
            there = self.read_rows("ids_test.npy", "U")
        except UserError:
            there = None
        if there is not None:
            return not np.array_equal(there, self.samples.test_ids)
        return not self.are_of_these_rows(kept)

    def are_of_these_rows(self, kept: Sequence[str]) -> bool:
        """Whether the records of predictions name these ids and folds, in this order."""
        mine = samples_digest(self.samples.train_ids, self.samples.test_ids, self.samples.folds)
        suffixes = [name.removeprefix("predictions") for name in kept]
        return all(read_stamp(self.path, suffix).get("samples") == mine for suffix in suffixes)

    # --- whether folds were trained from the same things --------------------------------------

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
        code = changed_code(recorded_code(record.state), trained_from.code)
        if code:
            raise UserError(
                f"fold {fold} of {self.path} was trained with other code of {', '.join(code)} than "
                f"there is now: restore that; or {ALLOW} goes on with the new code and records "
                f"from which epoch; or {ANEW}"
            )
        # Another number of rows changes what is trained from here on, not what is finished.
        rows = explain_rows_per_step(before, self.config, distributed.world_size())
        if rows is not None and trains:
            raise UserError(f"fold {fold} of {self.path} is of another training, as {rows}")


def is_saved(path: Path, array: np.ndarray) -> bool:
    """Whether a file holds an array; a damaged or missing one does not."""
    try:
        return np.array_equal(load_array(path), array)
    except UserError:
        return False
