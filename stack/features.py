"""The features of the stacking methods: probabilities, logits or ranks of each model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from experiments.predictions import sigmoid
from runtime.machine import num_cores
from stack.inputs import StackData

SPACES = ("probability", "logit", "rank")


class Features:
    """The logits of a stack, in float64: unchanged, as probabilities, or as ranks.

    The rank of a logit x is F_k(x), the share of the validation logits of the same network that
    lie below x, from 0 to 1; ties count one half. Ranks make the networks of different folds
    comparable, whose logits have different scales, and they use no target. A test sample is ranked
    among the same validation logits, so that its rank does not depend on the other test samples.
    (Ranking the test set within itself would make a rank depend on the share of signals in it.)
    Test logits beyond all validation logits share the rank 0 or 1: a handful of 226,000.
    """

    def __init__(self, data: StackData) -> None:
        self.data = data
        self.kept: dict[Any, np.ndarray] = {}

    def without(self, name: str) -> Features:
        """Return the features with one model left out, without computing the others again."""
        fewer = Features(self.data.without(name))
        column = self.data.names.index(name)
        fewer.kept = {key: np.delete(array, column, 1) for key, array in self.kept.items()}
        return fewer

    def train(self, space: str) -> np.ndarray:
        """Return the features (n, models) of the training rows."""
        if space not in self.kept:
            self.kept[space] = self.compute_features(space, None)
        return self.kept[space]

    def test(self, space: str, fold: int) -> np.ndarray:
        """Return the features (m, models) that the networks of `fold` give the test samples."""
        if space != "rank":  # the other spaces are cheap to compute again
            return self.compute_features(space, fold)
        if (space, fold) not in self.kept:
            # float32 needs half the memory, and is exact enough: among 112,000 rows two ranks
            # differ by at least 4e-6.
            self.kept[space, fold] = self.compute_features(space, fold).astype(np.float32)
        return self.kept[space, fold].astype(np.float64)

    def compute_features(self, space: str, fold: int | None) -> np.ndarray:
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

        with ThreadPoolExecutor(num_cores()) as pool:  # numpy releases the GIL while it sorts
            list(pool.map(rank, range(len(data.names))))
        return ranks


def share_below(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the share of the sorted `known` below each value, (values,); ties count one half."""
    order = np.argsort(values)  # sorted look-ups stay in the processor's cache
    ordered = values[order]
    shares = np.empty(len(values))
    shares[order] = np.searchsorted(known, ordered, "left")
    shares[order] += np.searchsorted(known, ordered, "right")
    return shares / (2 * len(known))
