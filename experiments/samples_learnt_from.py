"""Which samples a file of weights has learnt from, as far as its run directory says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.fold_record import FoldRecord
from experiments.predictions import load_array
from experiments.run_identity import strain_digests
from runtime.files import read_json
from simulation.dataset_on_the_fly import SimulatedDataset


@dataclass(frozen=True)
class LearntSamples:
    """Ids are unique within a split only, and other data sets may number theirs alike.

    Attributes:
        train_ids: (n,) text, the training samples that the network learnt from.
        pseudo_ids: (p,) text, test samples that it learnt from with pseudo-labels.
        strain: content digests of some of both, by id; empty in runs older than these.
    """

    train_ids: np.ndarray
    pseudo_ids: np.ndarray
    strain: Mapping[str, Mapping[str, str]]

    def count_seen(self, table: pd.DataFrame, cache: str | None) -> int:
        """Return how many samples of a table are among those that the network learnt from.

        Samples of the same id are the same unless the strain of one says otherwise: then the
        table is of another data set that numbers its samples alike.

        Args:
            table: id and path.
            cache: the path of the samples' cache, if they have one.
        """
        ids = table["id"].to_numpy(str)
        seen = np.zeros(len(ids), bool)
        for split, learnt in (("train", self.train_ids), ("pseudo", self.pseudo_ids)):
            common = np.isin(ids, learnt)
            digests = {k: v for k, v in self.strain.get(split, {}).items() if k in ids[common]}
            own = strain_digests(table, cache, list(digests)) if digests else {}
            # Without a digest to compare, the ids have to decide.
            if common.any() and not (own and all(own[key] != digests[key] for key in own)):
                seen |= common
        return int(seen.sum())


def learnt_samples(record: FoldRecord) -> LearntSamples | None:
    """Return the samples that a network learnt from, as far as is known.

    Those of its run that its fold did not validate; all of them where the file is not one of a
    fold; none where the run trained on injections into simulated noise alone. Of weights that it
    began with itself nothing is said: they were looked at then.

    Returns:
        None where no ids lie beside the weights.

    Raises:
        UserError: a file beside them is damaged.
    """
    folder, fold = record.path.parent, re.fullmatch(r"fold(\d+)\.pt", record.path.name)
    if not (folder / "ids_train.npy").exists():
        return None
    ids = load_array(folder / "ids_train.npy")
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    pseudo_path = folder / "ids_pseudo_labelled.npy"
    pseudo = load_array(pseudo_path) if pseudo_path.exists() else ids[:0]
    noise = (config.get("dataset_params") or {}).get("noise", "gaussian")
    if (config.get("dataset"), noise, config.get("weight_path")) == (
        SimulatedDataset.__name__,
        "gaussian",
        None,
    ):
        return LearntSamples(ids[:0], pseudo, {})
    if fold is not None and (folder / "folds.npy").exists():
        ids = ids[load_array(folder / "folds.npy") != int(fold[1])]
    return LearntSamples(ids, pseudo, record.trained_from.get("strain", {}))
