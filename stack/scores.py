"""How good a stack is: fold scores, paired bootstrap intervals, the choice among methods.

Each step sorts the rows once and then passes over them, so that 560,000 rows, about thirty
columns and a thousand resamples take seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from experiments.scores import aucs_by_fold
from metrics import AUC
from runtime.console import progress
from runtime.errors import UserError
from runtime.machine import num_cores

CHUNK = 100  # resamples drawn at a time: of 112,000 rows that is 45 MB
LINEAR_FROM = 10_000  # rows of a class in a fold from which resamples are linearized


@dataclass(frozen=True)
class AUCSummary:
    """The AUC of one column of out-of-fold scores.

    Attributes:
        folds: (folds,) the AUC on each fold's validation rows.
        mean, std: over the folds; the std has ddof 1.
        pooled: the AUC of all rows at once. It also depends on the folds sharing one scale,
            which the networks of different folds share only approximately.
        error: standard error of `mean` from the bootstrap over rows.
    """

    folds: tuple[float, ...]
    mean: float
    std: float
    pooled: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """A difference of two mean AUCs and its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float


def fold_aucs(targets: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the AUC (folds,) on each fold's rows, of both classes; all arguments are (n,)."""
    return np.array(list(aucs_by_fold(targets, scores, folds).values()))


def summarize_auc(
    targets: np.ndarray, scores: np.ndarray, folds: np.ndarray, areas: np.ndarray
) -> AUCSummary:
    """Return the AUC of one column (n,) of scores, by fold and over all.

    Args:
        areas: (resamples, folds) from `bootstrap_areas`, for this column.
    """
    of_fold = fold_aucs(targets, scores, folds)
    return AUCSummary(
        tuple(of_fold.tolist()),
        float(of_fold.mean()),
        float(of_fold.std(ddof=1)),
        AUC()(targets, scores),
        float(areas.mean(1).std(ddof=1)),
    )


@dataclass(frozen=True)
class ScoredColumn:
    """The out-of-fold scores of a model or a method, summed up: its AUC and its bootstrap.

    Attributes:
        areas: (resamples, folds) AUCs, on the same resampled rows for all columns.
    """

    name: str
    score: AUCSummary
    areas: np.ndarray

    def difference_to(self, other: ScoredColumn) -> Comparison:
        """Return this mean AUC minus the other, with its interval from paired resamples."""
        low, high = np.quantile((self.areas - other.areas).mean(1), (0.025, 0.975))
        return Comparison(self.score.mean - other.score.mean, float(low), float(high))


def score_columns(
    columns: Mapping[str, np.ndarray],
    targets: np.ndarray,
    folds: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    show: bool | None = None,
) -> dict[str, ScoredColumn]:
    """Score every column (n,). Two calls with the same seed draw the same rows: they are paired."""
    areas = bootstrap_areas(columns, targets, folds, resamples, seed, show)
    return {
        name: ScoredColumn(name, summarize_auc(targets, column, folds, areas[name]), areas[name])
        for name, column in columns.items()
    }


# --- the bootstrap ---------------------------------------------------------------------------


def bootstrap_areas(
    columns: Mapping[str, np.ndarray],
    targets: np.ndarray,
    folds: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    show: bool | None = None,
) -> dict[str, np.ndarray]:
    """Return the AUC (resamples, folds) of every column on the same resampled rows.

    Signals and noise of each fold are resampled separately, with replacement, so that neither can
    be absent. Only the rows vary; the networks and the fitted weights stay as they are, so the
    spread does not include that other training rows or seeds would give other networks.

    In a fold with few rows every resample is counted exactly. With many (`LINEAR_FROM` of a
    class) its area is approximated to first order in the counts, which is one matrix product for
    all columns and resamples (`placements`). The remainder has a spread of 1 % of that of an area
    and of 1 to 3 % of that of a difference; in folds of 112,000 rows a third of it. It adds in
    quadrature.

    Args:
        columns: names and (n,) scores, none of them NaN.
        targets, folds: (n,) zeros and ones, and from 0 up.

    Raises:
        UserError: fewer than 2 resamples.
    """
    from threadpoolctl import threadpool_limits

    if resamples < 2:
        raise UserError(f"--resamples {resamples}: a bootstrap needs at least 2")
    count = int(folds.max()) + 1
    areas = np.empty((len(columns), resamples, count))
    bar = progress(total=count * resamples, desc="bootstrap", unit="resample", show=show)
    # numpy sorts without the GIL; for threadpool_limits see methods.cross_fit
    with bar, threadpool_limits(1), ThreadPoolExecutor(num_cores()) as pool:
        for fold in range(count):
            noise, signals = (np.flatnonzero((folds == fold) & (targets == y)) for y in (0, 1))
            ordered = list(
                pool.map(
                    SortedColumn,
                    [scores[noise] for scores in columns.values()],
                    [scores[signals] for scores in columns.values()],
                )
            )
            linear = min(noise.size, signals.size) >= LINEAR_FROM
            resample = LinearizedResampling(ordered) if linear else ExactResampling(ordered)
            for start in range(0, resamples, CHUNK):
                generator = np.random.default_rng([seed, fold, start])
                rows = min(CHUNK, resamples - start)
                # Every chunk has a seed of its own and draws noise before signals, so that the rows
                # drawn depend only on the seed, the fold and its size, and not on the columns.
                noise_counts = draw_counts(generator, rows, noise.size)
                signal_counts = draw_counts(generator, rows, signals.size)
                areas[:, start : start + rows, fold] = resample(noise_counts, signal_counts)
                bar.update(rows)
    return dict(zip(columns, areas, strict=True))


def draw_counts(generator: np.random.Generator, resamples: int, size: int) -> np.ndarray:
    """Return how often each of `size` rows is drawn with replacement, (resamples, size)."""
    counts = np.empty((resamples, size), np.float32)  # exact up to 2^24
    for row in counts:
        row[:] = np.bincount(generator.integers(0, size, size, dtype=np.int32), minlength=size)
    return counts


class SortedColumn:
    """One column of scores on one fold's rows, sorted.

    Attributes:
        noise, signals: the order of the scores of each class, as positions within the class.
        below, upto: for each signal in that order, the number of smaller noise scores, and the
            number of noise scores that are not larger. They differ at ties, which count one half.
    """

    def __init__(self, noise: np.ndarray, signals: np.ndarray) -> None:
        self.noise, self.signals = np.argsort(noise), np.argsort(signals)
        ordered = noise[self.noise]
        self.below = np.searchsorted(ordered, signals[self.signals], side="left")
        self.upto = np.searchsorted(ordered, signals[self.signals], side="right")

    def area(self, noise_counts: np.ndarray, signal_counts: np.ndarray) -> float:
        """Return the AUC of a resample, given how often each row occurs in it."""
        # total[i]: drawn noise rows among the i smallest noise scores
        total = np.zeros(len(self.noise) + 1)
        np.cumsum(noise_counts[self.noise], out=total[1:])
        won = 0.5 * (total[self.below] + total[self.upto])
        return float(signal_counts[self.signals] @ won / (total[-1] * signal_counts.sum()))

    def placements(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of signals above each noise row, and of noise below each signal.

        The mean of either is the AUC. Reference: DeLong, DeLong and Clarke-Pearson 1988,
        Biometrics 44, 837.
        """
        of_noise, of_signals = np.empty(len(self.noise)), np.empty(len(self.signals))
        of_signals[self.signals] = 0.5 * (self.below + self.upto) / len(self.noise)
        # A signal is smaller than the noise row at place p if its `upto` is at most p, and not
        # larger if its `below` is. Both increase along the sorted signals, so a binary search
        # counts them.
        place = np.arange(len(self.noise))
        smaller = np.searchsorted(self.upto, place, side="right")
        not_larger = np.searchsorted(self.below, place, side="right")
        of_noise[self.noise] = 1 - 0.5 * (smaller + not_larger) / len(self.signals)
        return of_noise, of_signals


class ExactResampling:
    """The exact areas of resamples; O(rows) per column and resample."""

    def __init__(self, columns: Sequence[SortedColumn]) -> None:
        self.columns = columns

    def __call__(self, noise: np.ndarray, signals: np.ndarray) -> np.ndarray:
        """Return areas (columns, resamples) from counts (resamples, rows) of both classes."""
        counts = list(zip(noise, signals, strict=True))
        return np.array([[column.area(*pair) for pair in counts] for column in self.columns])


class LinearizedResampling:
    """The areas of resamples to first order in their counts, by matrix products."""

    def __init__(self, columns: Sequence[SortedColumn]) -> None:
        # (rows, columns) each
        pairs = [column.placements() for column in columns]
        noise, signals = (np.stack([pair[i] for pair in pairs], 1) for i in (0, 1))
        self.areas = signals.mean(0)
        # Less their means, so that float32 sums small numbers: the areas are exact to 1e-8.
        self.noise = (noise - self.areas).astype(np.float32)
        self.signals = (signals - self.areas).astype(np.float32)

    def __call__(self, noise: np.ndarray, signals: np.ndarray) -> np.ndarray:
        """Return areas (columns, resamples) from counts (resamples, rows) of both classes."""
        change = noise @ self.noise / len(self.noise) + signals @ self.signals / len(self.signals)
        return (self.areas + change).T


# --- an AUC for optimisers -------------------------------------------------------------------


class MeanFoldAUC:
    """The mean over folds of the AUC of linear blends, fast enough for an optimiser.

    Scores are counted in equal bins between the smallest and the largest, which is several times
    faster than sorting them. Rows in one bin count as ties, one half each, so that a blend gains
    nothing from them. With 16,384 bins about one pair in 6,000 shares a bin; that changes an area
    by 1e-7 in folds of 112,000 rows and by 3e-6 in folds of 3,000, a thousandth of its standard
    error.
    """

    def __init__(
        self, features: np.ndarray, targets: np.ndarray, folds: np.ndarray, bins: int = 16_384
    ) -> None:
        """Sort the rows by fold and class; features (n, models), targets and folds (n,)."""
        self.bins = bins
        self.blocks = []
        for fold in np.unique(folds):
            noise, signals = (features[(folds == fold) & (targets == y)] for y in (0, 1))
            block = np.concatenate([noise, signals]).astype(np.float32)
            self.blocks.append((np.ascontiguousarray(block.T), len(noise)))  # (models, rows)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the area (blends,) of the blends with the weights (blends, models)."""
        areas = np.zeros(len(weights))
        for features, noise in self.blocks:
            for i, scores in enumerate(weights.astype(np.float32) @ features):
                low, high = scores.min(), scores.max()
                scale = (self.bins - 1) / (high - low) if high > low else 0.0
                place = ((scores - low) * scale).astype(np.int32)
                of_noise = np.bincount(place[:noise], minlength=self.bins)
                of_signals = np.bincount(place[noise:], minlength=self.bins)
                below = np.cumsum(of_noise) - 0.5 * of_noise
                areas[i] += of_signals @ below / (noise * (len(place) - noise))
        return areas / len(self.blocks)


# --- the choice among methods ----------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Which method was chosen, and by how much choosing it by its score may flatter that score.

    Attributes:
        method: the simplest method within one standard error of the best.
        best: the method with the highest mean.
        nested: (folds,) the AUC on each fold of the method chosen by the other folds.
        optimism: an upper bound of the expected difference between the chosen method's mean and
            its mean on new rows that is due to the choice.
    """

    method: str
    best: str
    nested: tuple[float, ...]
    optimism: float


def choose_method(methods: Mapping[str, ScoredColumn]) -> Choice:
    """Choose the simplest method that is within one standard error of the best.

    The standard error is that of the paired difference to the best (the one-standard-error rule
    of Breiman et al. 1984, *Classification and Regression Trees*, section 3.4.3).

    The score X_i of a method that was chosen by its score is optimistic. Whatever the rule, it
    exceeds its expectation μ_i by at most max_i (X_i − μ_i), and on average by at most the mean of
    that maximum, which would be reached if all methods were equally good. The bootstrap estimates
    this mean with its resamples in place of X_i and the scores in place of μ_i. The scores of one
    method are subtracted from all, which removes the fluctuation that all of them share.

    The nested score chooses without the fold that it scores. The fits by which the other folds
    are scored were trained on that fold, so a small dependence is left.

    Args:
        methods: the simplest method first.
    """
    columns = list(methods.values())
    folds = np.arange(len(columns[0].score.folds))
    best, simplest = best_and_simplest(columns, folds)
    nested = []
    for fold in folds:
        _, chosen = best_and_simplest(columns, folds[folds != fold])
        nested.append(chosen.score.folds[fold])
    # (resamples, methods): X_i − μ_i, less that of the chosen method
    excess = np.column_stack([other.areas.mean(1) - other.score.mean for other in columns])
    excess -= (simplest.areas.mean(1) - simplest.score.mean)[:, None]
    optimism = float(excess.max(1).mean())
    return Choice(simplest.name, best.name, tuple(nested), optimism)


def best_and_simplest(
    columns: Sequence[ScoredColumn], folds: np.ndarray
) -> tuple[ScoredColumn, ScoredColumn]:
    """Return the best on these folds, and the first within a standard error of it."""
    means = [float(np.mean([other.score.folds[k] for k in folds])) for other in columns]
    top = int(np.argmax(means))  # the first of equals, which is the simplest
    best = columns[top]
    for mean, other in zip(means, columns, strict=True):
        error = (best.areas[:, folds] - other.areas[:, folds]).mean(1).std(ddof=1)
        if means[top] - mean <= error:
            return best, other
    raise AssertionError("the best is within its own error")
