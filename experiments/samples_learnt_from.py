"""Which samples a file of weights has learnt from, as far as its run directory says.

Weights that a training began with (`weight_path`) have learnt from samples of their own, and so
have those that they began with: all of them are followed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.fold_record import FoldRecord, read_fold
from experiments.npy_files import load_array
from experiments.run_identity import strain_digests
from experiments.run_records import read_fold_state, read_run_config
from experiments.seed_folders import SEED_FOLDER
from physics.observation import COMPETITION, Sampling
from runtime.errors import UserError
from simulation.dataset_on_the_fly import SimulatedDataset


@dataclass(frozen=True)
class LearntSamples:
    """Ids are unique within a split only, and other data sets may number theirs alike.

    Attributes:
        train_ids: (n,) text, the training samples that the network learnt from.
        pseudo_ids: (p,) text, test samples that it learnt from with pseudo-labels.
        strain: content digests of some of both, by id; empty in runs older than these.
        before: what the weights that its training began with had learnt from; None where they
            had learnt nothing that is recorded.
        unknown: why it is not known what they had learnt from; None where it is.
    """

    train_ids: np.ndarray
    pseudo_ids: np.ndarray
    strain: Mapping[str, Mapping[str, str]]
    before: LearntSamples | None = None
    unknown: str | None = None

    @property
    def all_pseudo_ids(self) -> np.ndarray:
        """(p,) text, the pseudo-labelled test samples of all trainings."""
        earlier = self.pseudo_ids[:0] if self.before is None else self.before.all_pseudo_ids
        return np.union1d(self.pseudo_ids, earlier)

    def without_pseudo_labels(self) -> LearntSamples:
        before = None if self.before is None else self.before.without_pseudo_labels()
        return replace(self, pseudo_ids=self.pseudo_ids[:0], before=before)

    def count_seen(
        self, table: pd.DataFrame, cache: str | None, sampling: Sampling = COMPETITION.sampling
    ) -> int:
        """Return how many samples of a table are among those that the network learnt from.

        Data sets number their samples alike, so that the same id alone does not make the same
        sample. Where its strain was recorded, that decides, sample by sample; of training on up to
        `run_identity.STRAIN_SAMPLES` samples all was recorded. Of a larger one, and of older runs,
        some samples were not. These are counted as seen unless some others could be compared and
        all of them differ. So what remains unknown is counted as seen, with one exception: in a
        table whose compared samples are all new, the others are taken to be new as well.

        Args:
            table: id and path.
            cache: the path of the samples' cache, if they have one.
            sampling: what its files are samples of.
        """
        return int(self.find_seen(table, cache, sampling).sum())

    def find_seen(self, table: pd.DataFrame, cache: str | None, sampling: Sampling) -> np.ndarray:
        """Return (n,) bool, which rows of a table are among them; see `count_seen`."""
        ids = table["id"].to_numpy(str)
        seen = np.zeros(len(ids), bool)
        for split, learnt in (("train", self.train_ids), ("pseudo", self.pseudo_ids)):
            common = np.isin(ids, learnt)
            recorded = self.strain.get(split, {})
            wanted = [name for name in ids[common] if name in recorded]
            now = strain_digests(table, cache, wanted, sampling) if wanted else {}
            same = [name for name, digest in now.items() if digest == recorded[name]]
            seen |= common & np.isin(ids, same)
            if same or not now:
                seen |= common & ~np.isin(ids, wanted)
        # Each training is compared with its own digests: it may have had another data set.
        return seen if self.before is None else seen | self.before.find_seen(table, cache, sampling)


def learnt_samples(
    record: FoldRecord,
    known: tuple[np.ndarray, np.ndarray] | None = None,
    followed: frozenset[Path] = frozenset(),
) -> LearntSamples | None:
    """Return the samples that a network learnt from, as far as is known.

    Those of its run that its fold did not validate; all of them where the file is not one of a
    fold; none where the run trained on injections into simulated noise alone. And those that the
    weights that it began with had learnt from.

    Args:
        known: ids and folds (n,) of the run's training samples, where they have been checked
            against its records; None reads those that lie beside the weights.
        followed: weights that began with these, to end a circle.

    Returns:
        None where no ids lie beside the weights.

    Raises:
        UserError: a file beside them is damaged, or the ids of pseudo-labelled samples are missing.
    """
    folder, fold = record.path.parent, fold_number(record.path)
    if known is not None:
        ids, folds = known
    elif not (folder / "ids_train.npy").exists():
        return None
    else:
        ids, path = load_array(folder / "ids_train.npy"), folder / "folds.npy"
        folds = load_array(path) if path.exists() else None
    config = read_run_config(folder)
    pseudo = read_pseudo_ids(record, config, ids[:0])
    before, unknown = learnt_before(record, config, followed | {record.path})
    noise = (config.get("dataset_params") or {}).get("noise", "gaussian")
    # Of all kinds of noise, only 'real' is taken from the samples of the table.
    if config.get("dataset") == SimulatedDataset.__name__ and noise != "real":
        return LearntSamples(ids[:0], pseudo, {}, before, unknown)
    if fold is not None and folds is not None:
        ids = ids[folds != fold]
    strain = record.trained_from.get("strain", {})
    return LearntSamples(ids, pseudo, strain, before, unknown)


def fold_number(weights: Path) -> int | None:
    """Return the fold that a file of weights is of, by its name; None where it names none."""
    match = re.fullmatch(r"fold(\d+)\.pt", weights.name)
    return None if match is None else int(match[1])


def read_pseudo_ids(record: FoldRecord, config: Mapping[str, Any], none: np.ndarray) -> np.ndarray:
    """Return the ids of the test samples that a network was given with pseudo-labels.

    The record of the fold tells whether it was given any, or else the config.

    Args:
        none: the ids where there were none.

    Raises:
        UserError: there were some, and the file is missing or damaged.
    """
    path = record.path.parent / "ids_pseudo_labelled.npy"
    if path.exists():
        return load_array(path)
    source = record.trained_from if record.trained_from else config
    if source.get("pseudo_labels"):
        raise UserError(
            f"{path} is missing, and {record.path} has learnt from pseudo-labels: restore it, or "
            f"let train_pseudo.py write it again with --resume in that run"
        )
    return none


# --- what a training began with --------------------------------------------------------------


def learnt_before(
    record: FoldRecord, config: Mapping[str, Any], followed: frozenset[Path]
) -> tuple[LearntSamples | None, str | None]:
    """Return what the weights that a training began with had learnt, and else why it is unknown."""
    start = record.trained_from.get("start")
    if start is None:  # older than these records
        start = {"from": "weight_path", "name": config.get("weight_path"), "weights": None}
    name = start.get("name")
    if start.get("from") not in ("weight_path", "--weights") or not name:
        return None, None
    if start["from"] == "--weights":  # mostly a stranger's, of images
        file = Path(name)
        path = file if file.is_file() and (file.parent / "ids_train.npy").exists() else None
        if path is None:
            return None, None
    else:
        path = find_start(record.path, name, start.get("weights"))
    if path is None:
        return None, (
            f"{record.path} began with {name}, whose weights are no longer there, so that it is "
            f"not known which samples they were trained on"
        )
    if path in followed:
        return None, None
    try:
        learnt = learnt_samples(read_fold(path), followed=followed)
    except UserError as error:
        return None, str(error)
    if learnt is None:
        return None, (
            f"{record.path} began with {path}, and no ids_train.npy lies beside it, so that it is "
            f"not known which samples those weights were trained on"
        )
    return learnt, learnt.unknown


def find_start(weights: Path, name: str, digest: str | None) -> Path | None:
    """Return the file of weights that a training began with, or where it was; None if unknown.

    Args:
        weights: what the training made of them.
        name: `weight_path`: a file, a run directory, or the name of a run beside this one.
        digest: of their content, where it was recorded. It decides: the run may have been trained
            again since, and the earlier one been moved aside.
    """
    results, of_seed = weights.parent.parent, SEED_FOLDER.fullmatch(weights.parent.name)
    if of_seed:
        results = results.parent  # results/<name>/seed<k>
    candidates = []
    for place in (Path(name), results / name):
        if of_seed and (place / of_seed[0]).is_dir():
            place = place / of_seed[0]
        candidates += [place] if place.is_file() else [place / weights.name]
    for pattern in ("*/fold*.json", "*/seed*/fold*.json"):
        candidates += sorted(path.with_suffix(".pt") for path in results.glob(pattern))
    for path in candidates:
        record_path = path.with_suffix(".json")
        if not path.is_file() and not record_path.is_file():
            continue
        if digest is None:
            return path  # runs older than digests
        try:
            # The record is asked first, which is quicker than the weights.
            if read_fold_state(record_path).get("weights") == digest:
                return path
            if path.is_file() and path in candidates[:2] and read_fold(path).digest == digest:
                return path
        except UserError:
            continue  # a damaged file of another run, or of one that is not known by it
    return None
