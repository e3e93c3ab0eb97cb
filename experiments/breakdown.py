"""The score of a run by a covariate: by month, by SNR, by detector state.

A column of few values is broken down by value, one of many numbers by bins that hold equally many
signals. Where noise has no value, as of an SNR, the signals of a bin are told apart from all noise.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from experiments.scores import auc_with_error
from runtime.errors import UserError

MOST_VALUES = 24  # that are shown one by one, as of hours
BINS = 5


def to_numbers(words: np.ndarray) -> np.ndarray | None:
    """Return a column (n,) of text as float64, NaN where it is empty; None if it has words."""
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(words).replace("", np.nan), errors="coerce").to_numpy(float)
    return None if (np.isnan(numbers) & ~is_missing(words)).any() else numbers


def is_missing(words: np.ndarray) -> np.ndarray:
    """Return (n,) bool, which samples have no value."""
    return np.isin(np.char.lower(words), ("", "nan"))


def check_covariate(column: str, words: np.ndarray) -> None:
    """Refuse a column that cannot be broken down.

    Args:
        column: its name.
        words: (n,) text.

    Raises:
        UserError: it has no value, or too many that are no numbers.
    """
    known = words[~is_missing(words)]
    if not len(known):
        raise UserError(f"covariates: no training sample has a value of {column!r}: leave it out")
    count = len(np.unique(known))
    if to_numbers(words) is None and count > MOST_VALUES:
        raise UserError(
            f"covariates: {column!r} has {count} different values that are no numbers, more than "
            f"{MOST_VALUES}: name a coarser column"
        )


def break_down(words: np.ndarray, targets: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Return the score of each value or bin of a covariate, in order.

    Args:
        words: (n,) the covariate as text, '' where a sample has none.
        targets: (n,) 0 or 1.
        scores: (n,) finite logits.

    Returns:
        Of each: `label`, `n` samples and `signals` among them, `auc` and `auc_error`; these are
        None where a class is missing.
    """
    noise, missing = np.round(targets) == 0, is_missing(words)
    # An SNR is one of signals: each bin is then compared with all noise.
    all_noise = noise & missing.all(where=noise)
    found = []
    for label, chosen in group_rows(words, ~noise):
        rows = chosen | all_noise
        signals = int((rows & ~noise).sum())
        auc = error = None
        if 0 < signals < rows.sum():
            auc, error = auc_with_error(targets[rows], scores[rows])
        figures = {"n": int(rows.sum()), "signals": signals, "auc": auc, "auc_error": error}
        found.append({"label": label, **figures})
    return found


def group_rows(words: np.ndarray, signals: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return (label, (n,) bool) of each value, or of each bin of many numbers."""
    missing = is_missing(words)
    values, numbers = np.unique(words[~missing]), to_numbers(words)
    if numbers is None or len(values) <= MOST_VALUES:
        if numbers is not None:
            values = sorted(values, key=float)
        return [(str(value), words == value) for value in values]
    # Edges by the signals, which are what a score by SNR is of; a table may have none with a value.
    counted = numbers[signals & ~missing] if (signals & ~missing).any() else numbers[~missing]
    edges = np.unique(np.quantile(counted, np.linspace(0, 1, BINS + 1)))
    # What lies beyond the outer edges belongs to the outer bins.
    place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, max(len(edges) - 2, 0))
    return [
        (f"{low:.4g} to {high:.4g}", (place == k) & ~missing)
        for k, (low, high) in enumerate(itertools.pairwise(edges))
    ]


def format_breakdown(column: str, rows: list[dict[str, Any]]) -> str:
    """Return the scores by a covariate as a line, e.g. 'AUC by month: 4 0.8123, 5 0.8340'."""
    scored = [
        f"{row['label']}: " + ("-" if row["auc"] is None else f"{row['auc']:.4f}") for row in rows
    ]
    return f"AUC by {column}: {', '.join(scored)}."
