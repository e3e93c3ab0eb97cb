"""What the stacking methods see of the models: probabilities, logits or ranks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from experiments.predictions import sigmoid
from runtime.machine import num_cores
from stack.inputs import StackData

SPACES = ("probability", "logit", "rank")


class Features:
    """The logits of a stack as probabilities, as they are, or as ranks; in float64.

    The rank of a logit is its place among the logits that the same network gave the validation
    rows of its own fold, from 0 to 1: F_k(x), the share of them below x, ties counting one half.
    So the networks of different folds, whose logits have each their own scale, become comparable;
    no target enters; and a test sample is ranked by itself, whatever the rest of the test set
    holds, in just the way the validation rows were. Ranking the test set within itself would tie
    a rank's meaning to its share of signals. Test logits beyond all validation logits share the
    rank 0 or 1; of 226,000 that is a handful.
    """

    def __init__(self, data: StackData) -> None:
        self.data = data
        self.kept: dict[Any, np.ndarray] = {}

    def without(self, name: str) -> Features:
        """Return the features with one model left out; what is worked out already is kept."""
        fewer = Features(self.data.without(name))
        column = self.data.names.index(name)
        fewer.kept = {key: np.delete(array, column, 1) for key, array in self.kept.items()}
        return fewer

    def train(self, space: str) -> np.ndarray:
        """Return the features (n, models) of the training rows."""
        if space not in self.kept:
            self.kept[space] = self.transform(space, None)
        return self.kept[space]

    def test(self, space: str, fold: int) -> np.ndarray:
        """Return the features (m, models) that the networks of `fold` give the test samples."""
        if space != "rank":  # the others are quicker made than kept
            return self.transform(space, fold)
        if (space, fold) not in self.kept:
            # Half the memory; of 112,000 rows two ranks are 4e-6 apart at least.
            self.kept[space, fold] = self.transform(space, fold).astype(np.float32)
        return self.kept[space, fold].astype(np.float64)

    def transform(self, space: str, fold: int | None) -> np.ndarray:
        data = self.data
        logits = data.out_of_fold if fold is None else data.test[fold]
        if space == "logit":
            return logits.astype(np.float64)
        if space == "probability":
            return sigmoid(logits.astype(np.float64))
        ranks = np.empty(logits.shape)

        def rank(column: int) -> None:
            for k in range(data.num_folds) if fold is None else (fold,):
                validated = data.rows(k)
                known = np.sort(data.out_of_fold[validated, column])
                rows = validated if fold is None else slice(None)
                ranks[rows, column] = share_below(known, logits[rows, column])

        with ThreadPoolExecutor(num_cores()) as pool:  # sorting leaves the GIL alone
            list(pool.map(rank, range(len(data.names))))
        return ranks


def share_below(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which share of the sorted `known` lies below each value, ties counting one half."""
    order = np.argsort(values)  # searching in order stays in the cache
    ordered = values[order]
    shares = np.empty(len(values))
    shares[order] = np.searchsorted(known, ordered, "left")
    shares[order] += np.searchsorted(known, ordered, "right")
    return shares / (2 * len(known))
