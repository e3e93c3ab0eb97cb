"""The folder of a run, results/<name>/: what may be kept of it, what a run writes of itself.

config.json, run.json       the resolved config; every start with versions, revision, command
fold<k>.pt, fold<k>_last.pt the best weights of a fold; all that resuming it needs
fold<k>.json                how far it is, and its learning curve
history.csv, tensorboard/   the learning curves of all folds
pseudo_labels.json          figures of the labels that the test samples were given, if any
.lock, .fold<k>.lock        held by whoever works on it; see locks.py
and, from inference.py, the arrays that predictions.py describes and what is made of them
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configuration.json_types import to_plain
from configuration.rules import ConfigMeta
from experiments.building import provenance
from experiments.predictions import load_array, samples_digest, save_array
from experiments.summary import write_history
from runtime.errors import UserError
from runtime.files import TEMPORARY, read_json, write_json
from runtime.locks import hold, is_held
from simulation.dataset_on_the_fly import SimulatedDataset

PREDICTED = (
    "outoffolds*.npy",
    "predictions*.npy",
    "predictions*.json",
    "submission.csv",
    "summary*.json",
    "summary.png",
)
# Where the samples lie and what is done with finished networks; which samples they are is checked
# by their ids.
FREE = ("train_path", "test_path", "train_cache", "test_cache", "data_root", "views", "published")
ANEW = (
    "start all its folds anew without --resume and --skip_existing, or give it a folder of its own "
    "with --set name=…"
)


def learnt_from(weights: Path) -> np.ndarray | None:
    """Return the ids of the training samples that a network learnt from, as far as is known.

    Those of its run that its fold did not validate; all of them where the file is not one of a
    fold; none where the run trained on injections into simulated noise alone. Of weights that it
    began with itself nothing is said: they were looked at then.

    Returns:
        Ids, (n,) text; None where none lie beside the weights.
    """
    folder, fold = weights.parent, re.fullmatch(r"fold(\d+)\.pt", weights.name)
    if not (folder / "ids_train.npy").exists():
        return None
    ids = load_array(folder / "ids_train.npy")
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    noise = (config.get("dataset_params") or {}).get("noise", "gaussian")
    if (config.get("dataset"), noise, config.get("weight_path")) == (
        SimulatedDataset.__name__,
        "gaussian",
        None,
    ):
        return ids[:0]
    if fold is None or not (folder / "folds.npy").exists():
        return ids
    return ids[load_array(folder / "folds.npy") != int(fold[1])]


class RunFolder:
    """The folder of one experiment.

    Args:
        path: results/<name>.
        config: what the run is.
        train_ids, test_ids: (n,) and (m,) text, its samples.
        folds: (n,) the fold that each training row is validated in.
    """

    def __init__(
        self,
        path: Path,
        config: ConfigMeta,
        train_ids: np.ndarray,
        test_ids: np.ndarray,
        folds: np.ndarray,
    ) -> None:
        self.path, self.config = path, config
        self.train_ids, self.test_ids, self.folds = train_ids, test_ids, folds

    # --- what may be kept --------------------------------------------------------------------

    def others(self, mine: Sequence[int]) -> list[int]:
        """Return the folds, beside `mine`, that have weights or are being trained just now."""
        return [
            fold
            for fold in range(int(self.folds.max()) + 1)
            if fold not in mine
            and (
                (self.path / f"fold{fold}.pt").exists() or is_held(self.path / f".fold{fold}.lock")
            )
        ]

    def check(self, mine: Sequence[int], going_on: bool, labels: str | None = None) -> None:
        """Refuse to keep folds that are another experiment's.

        Args:
            mine: the folds to be trained.
            going_on: whether these are taken up where they stopped.
            labels: the digest of the pseudo-labels they learn from.

        Raises:
            UserError: folds that would be kept had another config, other samples or labels.
        """
        config_path = self.path / "config.json"
        if not (going_on or self.others(mine)) or not config_path.exists():
            return
        changed = changed_settings(self.config, read_json(config_path))
        if changed:
            raise UserError(
                f"{config_path} differs from this run in {', '.join(changed)}: a run goes on as it "
                f"began; {ANEW}"
            )
        self.check_ids()
        self.check_folds()
        path = self.path / "pseudo_labels.json"
        if labels is not None and path.exists() and read_json(path).get("digest") != labels:
            source = self.config.pseudo_labels.params["source"]
            raise UserError(
                f"the predictions of {source} have changed since {self.path} was begun: {ANEW}"
            )

    def check_ids(self) -> None:
        """Refuse a folder whose networks were trained on other samples than these.

        A network may have been trained on any of them, so its score would flatter.
        """
        path = self.path / "ids_train.npy"
        if path.exists() and not np.array_equal(load_array(path), self.train_ids):
            raise UserError(
                f"{self.path} belongs to other training samples than {self.config.train_path}: "
                f"give this run a folder of its own with --set name=… (and, to use the networks "
                f"there, weight_path={self.path})"
            )

    def check_folds(self) -> None:
        """Refuse a folder whose networks were trained on the same samples in other folds."""
        path = self.path / "folds.npy"
        if path.exists() and not np.array_equal(load_array(path), self.folds):
            raise UserError(
                f"{path} has other folds than {self.config.train_path} gives now, as other targets "
                f"or another splitter make them, so that its networks would be scored on samples "
                f"they learnt from: restore the table as it was; or {ANEW}"
            )

    # --- what a run writes -------------------------------------------------------------------

    def begin(
        self,
        mine: Sequence[int],
        going_on: bool,
        device: torch.device,
        labels: dict[str, Any] | None,
    ) -> None:
        """Write what the run is; remove what no longer holds. `labels` are figures of them.

        Raises:
            UserError: as in `check`, which is asked again: another fold may have begun meanwhile.
        """
        with hold(self.path / ".begin.lock", wait=True):
            self.check(mine, going_on, labels and labels["digest"])
            self.remove_temporaries(mine[0] if len(mine) == 1 else None)
            kept = going_on or bool(self.others(mine))
            if not going_on:
                self.forget_predictions()
                for fold in mine:  # else a later --resume would take the old ones up
                    # First what says that it is finished: without its weights that would be wrong.
                    for name in (f"fold{fold}_last.pt", f"fold{fold}.pt", f"fold{fold}.json"):
                        (self.path / name).unlink(missing_ok=True)
            write_json(self.path / "config.json", to_plain(self.config))
            self.add_start(kept, device)
            self.write_samples()
            if labels is not None:
                write_json(self.path / "pseudo_labels.json", labels)

    def add_start(self, kept: bool, device: torch.device) -> None:
        """Add this start to run.json; the weights may come from any of those listed."""
        path = self.path / "run.json"
        starts = read_json(path).get("starts", []) if kept and path.exists() else []
        write_json(path, {"starts": [*starts, provenance(self.config, device)]})

    def write_samples(self) -> None:
        """Write which samples the rows of all arrays belong to, and their folds.

        Arrays of other samples or folds that lie there are removed.
        """
        arrays = {"ids_train": self.train_ids, "ids_test": self.test_ids, "folds": self.folds}
        paths = {name: self.path / f"{name}.npy" for name in arrays}
        there = [load_array(path) for path in paths.values() if path.exists()]
        same = len(there) == len(arrays) and samples_digest(*there) == samples_digest(
            self.train_ids, self.test_ids, self.folds
        )
        if same:
            return
        self.forget_predictions()
        for name, array in arrays.items():
            save_array(paths[name], array)

    def remove_temporaries(self, fold: int | None = None) -> None:
        """Remove what a killed run was writing, of those files that this run holds the lock of.

        Args:
            fold: the one that is held, beside runs of others; None where the folder is.
        """
        stem = ".+" if fold is None else rf"fold{fold}(_last)?"
        for path in self.path.glob(".*.tmp*"):
            if re.fullmatch(rf"\.{stem}{TEMPORARY}", path.name):
                path.unlink(missing_ok=True)

    def forget_predictions(self) -> None:
        """Remove predictions, and what was made of them, that the networks no longer stand for."""
        for pattern in PREDICTED:
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def write_history(self) -> None:
        """Write the learning curves of all folds so far, also of earlier runs, as one CSV."""
        states = {fold: self.state(fold) for fold in range(int(self.folds.max()) + 1)}
        histories = {fold: state["history"] for fold, state in states.items() if state}
        if histories:
            write_history(self.path / "history.csv", histories)

    def state(self, fold: int) -> dict[str, Any] | None:
        """Return how far a fold is, as its trainer wrote it; None where it has not begun."""
        path = self.path / f"fold{fold}.json"
        return read_json(path) if path.exists() else None


def changed_settings(config: ConfigMeta, before: dict[str, Any]) -> list[str]:
    """Return the settings in which a config differs from an earlier one in JSON.

    A setting that did not exist then has not changed where it stands at its default; those of
    `FREE` may change.
    """
    plain = to_plain(config)
    root = config.root()
    return sorted(
        key
        for key in plain | before
        if key not in FREE
        and plain.get(key) != before.get(key)
        and not (key not in before and plain[key] == to_plain(getattr(root, key)))
    )
