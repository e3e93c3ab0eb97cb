"""Samples for which a network has no finite score, in words.

Strain of another size than detectors record, such as strain that is whitened already, is finite
itself and overflows in the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configuration.config_class import ConfigMeta
from experiments.npy_files import load_array
from runtime.errors import UserError

NAMED = 5  # samples that a message names; it counts the others
LIKELY = "likely whitened or scaled, where strain as recorded, of 1e-20 or less, is expected"


class UnscoredError(UserError):
    """Some samples have no finite score."""


def are_unscored(logits: np.ndarray) -> np.ndarray:
    """Return which samples have a logit that is NaN or infinite, (n,) bool.

    Args:
        logits: (folds, n, ...) of any number of outputs.
    """
    # (folds, n, ...) -> (folds, n, outputs)
    finite = np.isfinite(logits).reshape(*logits.shape[:2], -1)
    return ~finite.all((0, 2))


def explain_unscored(names: Sequence[str]) -> str:
    """Return that these samples have no finite score, and the likely reason, without a full stop.

    Args:
        names: of one sample or more.
    """
    listed = ", ".join(map(str, names[:NAMED]))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    one = len(names) == 1
    return (
        f"sample{'' if one else 's'} {listed}{more} {'has' if one else 'have'} no finite score, "
        f"{LIKELY}"
    )


def find_unscored(
    folder: Path, suffix: str, train_ids: Sequence[str], test_ids: Sequence[str]
) -> list[str]:
    """Return the ids of a run's samples without a finite logit, of the training samples first.

    A fold of which no logit is finite was not predicted, or has bad weights; it is left out, as are
    its validation rows.

    Args:
        folder: of the run, with its predictions.
        suffix: '' or '_tta'.
        train_ids, test_ids: in the order of the predictions.
    """
    out_of_fold = load_array(folder / f"outoffolds{suffix}.npy")  # (n, outputs)
    of_test = load_array(folder / f"predictions{suffix}.npy")  # (folds, m, outputs)
    folds = load_array(folder / "folds.npy")  # (n,)
    bad = are_unscored(out_of_fold[None])
    scored = np.isin(folds, np.unique(folds[~bad]))
    found = [str(train_ids[row]) for row in np.flatnonzero(bad & scored)]
    of_test = of_test[np.isfinite(of_test).any((1, 2))]
    return found + [str(test_ids[row]) for row in np.flatnonzero(are_unscored(of_test))]


def advise(config: ConfigMeta) -> str:
    """Return what to do about samples of a run without a finite score."""
    return (
        f"check them in {config.train_path} and {config.test_path}, restore them or leave them "
        f"out, and predict again with --inference --overwrite"
    )
