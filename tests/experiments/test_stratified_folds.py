"""The default folds are those of scikit-learn, and need no scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT
from sklearn.model_selection import StratifiedKFold

from experiments.stratified_folds import stratified_folds


@pytest.mark.parametrize("n", [40, 401, 5000])
@pytest.mark.parametrize("folds", [2, 5, 7])
@pytest.mark.parametrize("classes", [2, 4])
def test_they_are_scikit_learns(n: int, folds: int, classes: int) -> None:
    rng = np.random.default_rng([n, folds, classes])
    # Every class often enough, and in no order; numbers that are not 0 to K - 1 as well.
    targets = np.concatenate([np.repeat(np.arange(classes), folds), rng.integers(0, classes, n)])
    targets = rng.permutation(targets).astype(float) * 3 - 1
    for seed in (0, 2021):
        reference = StratifiedKFold(folds, shuffle=True, random_state=seed)
        wanted = list(reference.split(np.zeros(len(targets)), targets))
        found = stratified_folds(targets, folds, seed)
        assert len(found) == folds
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])


def test_a_training_starts_without_scikit_learn() -> None:
    program = (
        "import sys, numpy, pandas, configs; from experiments.folds import split_folds; "
        "table = pandas.DataFrame({'target': numpy.arange(100) % 2.0}); "
        "print(len(split_folds(configs.Demo, table)), 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["5", "False"], done.stderr
