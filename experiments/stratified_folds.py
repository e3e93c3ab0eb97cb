"""The default folds, as scikit-learn's `StratifiedKFold` makes them, without importing it."""

from __future__ import annotations

import numpy as np

from experiments.partial_splits import Folds


def stratified_folds(targets: np.ndarray, folds: int, seed: int) -> Folds:
    """Return (training rows, validation rows) of each fold, with all classes in proportion.

    The same rows as `StratifiedKFold(folds, shuffle=True, random_state=seed).split`, which the
    tests compare: classes are numbered as they appear, each fold is given as many samples of each
    as every folds-th of the sorted classes are, and the folds of a class are shuffled by numpy's
    older generator.

    Args:
        targets: (n,) numbers of the classes, each with at least `folds` samples.
        folds: how many.
        seed: of the shuffling, 0 to 2^32 - 1.
    """
    _, first, of_row = np.unique(targets, return_index=True, return_inverse=True)
    appearance = np.argsort(np.argsort(first))  # of each class, in the order of their values
    classes = appearance[of_row]  # (n,)
    order = np.sort(classes)
    counts = [np.bincount(order[fold::folds], minlength=len(first)) for fold in range(folds)]
    generator = np.random.RandomState(seed)
    fold_of_row = np.empty(len(targets), np.int64)
    for number, allocation in enumerate(np.transpose(counts)):
        shuffled = np.arange(folds).repeat(allocation)
        generator.shuffle(shuffled)
        fold_of_row[classes == number] = shuffled
    return [
        (np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in range(folds)
    ]
