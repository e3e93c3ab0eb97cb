"""How good a stack is: fold scores, paired bootstrap intervals, the choice among methods.

Everything here costs a sort of the rows and then passes over them, so that 560,000 rows, some
thirty columns and a thousand resamples are a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from metrics import AUC
from runtime.console import progress
from runtime.errors import UserError
from runtime.machine import num_cores

CHUNK = 100  # resamples drawn at a time: of 112,000 rows that is 45 MB
LINEAR_FROM = 10_000  # rows of a class in a fold, from which on resamples are linearized


@dataclass(frozen=True)
class Score:
    """The AUC of one column of out-of-fold scores.

    Attributes:
        folds: (folds,) the AUC on each fold's validation rows.
        mean, std: over the folds; the std has ddof 1.
        pooled: the AUC of all rows at once. It also asks that the folds share one scale, which
            the networks of different folds do only nearly.
        error: bootstrap standard error of `mean`, of the rows drawn.
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


def fold_scores(targets: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the AUC (folds,) on each fold's rows; all arguments are (n,)."""
    count = int(folds.max()) + 1
    return np.array([AUC()(targets[folds == k], scores[folds == k]) for k in range(count)])


def score(targets: np.ndarray, scores: np.ndarray, folds: np.ndarray, areas: np.ndarray) -> Score:
    """Sum up one column (n,) of scores.

    Args:
        areas: (resamples, folds) what `bootstrap_areas` gave for the column.
    """
    of_fold = fold_scores(targets, scores, folds)
    return Score(
        tuple(of_fold.tolist()),
        float(of_fold.mean()),
        float(of_fold.std(ddof=1)),
        AUC()(targets, scores),
        float(areas.mean(1).std(ddof=1)),
    )


@dataclass(frozen=True)
class Candidate:
    """A single model or a method, with its score and what its bootstrap gave.

    Attributes:
        areas: (resamples, folds) AUCs, on the same resampled rows for all candidates.
    """

    name: str
    score: Score
    areas: np.ndarray

    def against(self, other: Candidate) -> Comparison:
        """Return how much better this one is, with the percentile interval of the pairs."""
        low, high = np.quantile((self.areas - other.areas).mean(1), (0.025, 0.975))
        return Comparison(self.score.mean - other.score.mean, float(low), float(high))


def assess(
    columns: Mapping[str, np.ndarray],
    targets: np.ndarray,
    folds: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    show: bool | None = None,
) -> dict[str, Candidate]:
    """Score every column (n,). Two calls with one seed draw the same rows, and so are paired."""
    areas = bootstrap_areas(columns, targets, folds, resamples, seed, show)
    return {
        name: Candidate(name, score(targets, column, folds, areas[name]), areas[name])
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
    go missing. What varies is which rows were drawn; the fitted weights stay as they are, so the
    spread leaves out that other rows or seeds would have given other networks and other weights.

    In a fold with few rows each resample is counted out. With many (`LINEAR_FROM` of a class) its
    area is that of the sample plus the change to first order in the counts, which is one matrix
    product for all columns and resamples (`placements`). What is left out has a spread of 1 % of
    that of an area there, of 1 to 3 % of that of a difference, a third of it in folds of 112,000
    rows, and adds in quadrature.

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
    # numpy sorts without the GIL; for threadpool_limits see stackers.cross_fit
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
            resample = Linearized(ordered) if linear else Counted(ordered)
            for start in range(0, resamples, CHUNK):
                generator = np.random.default_rng([seed, fold, start])
                rows = min(CHUNK, resamples - start)
                drawn = (draw(generator, rows, noise.size), draw(generator, rows, signals.size))
                areas[:, start : start + rows, fold] = resample(*drawn)
                bar.update(rows)
    return dict(zip(columns, areas, strict=True))


def draw(generator: np.random.Generator, resamples: int, size: int) -> np.ndarray:
    """Return how often (resamples, size) each of so many rows is drawn with replacement."""
    counts = np.empty((resamples, size), np.float32)  # exact up to 2^24
    for row in counts:
        row[:] = np.bincount(generator.integers(0, size, size, dtype=np.int32), minlength=size)
    return counts


class SortedColumn:
    """One column of scores on one fold's rows, sorted.

    Attributes:
        noise, signals: the order of the scores of each class, as positions within the class.
        below, upto: for each signal in that order, how many noise scores are smaller, and how
            many are not larger. They differ at ties, which count one half.
    """

    def __init__(self, noise: np.ndarray, signals: np.ndarray) -> None:
        self.noise, self.signals = np.argsort(noise), np.argsort(signals)
        ordered = noise[self.noise]
        self.below = np.searchsorted(ordered, signals[self.signals], side="left")
        self.upto = np.searchsorted(ordered, signals[self.signals], side="right")

    def area(self, noise_counts: np.ndarray, signal_counts: np.ndarray) -> float:
        """Return the AUC of a sample in which each row occurs so many times."""
        total = np.zeros(len(self.noise) + 1)
        np.cumsum(noise_counts[self.noise], out=total[1:])
        won = 0.5 * (total[self.below] + total[self.upto])
        return float(signal_counts[self.signals] @ won / (total[-1] * signal_counts.sum()))

    def placements(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each noise row's share of signals above it, and each signal's of noise below.

        Their means are both the AUC. Reference: DeLong, DeLong and Clarke-Pearson 1988,
        Biometrics 44, 837.
        """
        of_noise, of_signals = np.empty(len(self.noise)), np.empty(len(self.signals))
        of_signals[self.signals] = 0.5 * (self.below + self.upto) / len(self.noise)
        # A signal is smaller than the noise row at place p if its `upto` is at most p, and not
        # larger if its `below` is. Both grow along the signals, so that they can be searched.
        place = np.arange(len(self.noise))
        smaller = np.searchsorted(self.upto, place, side="right")
        not_larger = np.searchsorted(self.below, place, side="right")
        of_noise[self.noise] = 1 - 0.5 * (smaller + not_larger) / len(self.signals)
        return of_noise, of_signals


class Counted:
    """The areas of resamples, each counted out; O(rows) a column and resample."""

    def __init__(self, columns: Sequence[SortedColumn]) -> None:
        self.columns = columns

    def __call__(self, noise: np.ndarray, signals: np.ndarray) -> np.ndarray:
        """Return areas (columns, resamples) from counts (resamples, rows) of both classes."""
        counts = list(zip(noise, signals, strict=True))
        return np.array([[column.area(*pair) for pair in counts] for column in self.columns])


class Linearized:
    """The areas of resamples to first order in their counts, by matrix products."""

    def __init__(self, columns: Sequence[SortedColumn]) -> None:
        # (rows, columns) each
        pairs = [column.placements() for column in columns]
        noise, signals = (np.stack([pair[i] for pair in pairs], 1) for i in (0, 1))
        self.areas = signals.mean(0)
        # About their means, so that float32 sums small numbers: the areas are exact to 1e-8.
        self.noise = (noise - self.areas).astype(np.float32)
        self.signals = (signals - self.areas).astype(np.float32)

    def __call__(self, noise: np.ndarray, signals: np.ndarray) -> np.ndarray:
        """Return areas (columns, resamples) from counts (resamples, rows) of both classes."""
        change = noise @ self.noise / len(self.noise) + signals @ self.signals / len(self.signals)
        return (self.areas + change).T


# --- an AUC for optimisers -------------------------------------------------------------------


class MeanFoldAUC:
    """The mean over folds of the AUC of linear blends, quick enough to be optimised.

    Scores are put into bins between the smallest and the largest, and counted: that is several
    times faster than sorting them. Rows in one bin count as ties, one half each, so that a blend
    gains nothing from them. With 16,384 bins about one pair in 6,000 shares one; deciding those
    by a coin costs 1e-7 of an area in folds of 112,000 rows and 3e-6 in folds of 3,000, a
    thousandth of its standard error.
    """

    def __init__(
        self, features: np.ndarray, targets: np.ndarray, folds: np.ndarray, bins: int = 16_384
    ) -> None:
        """Arrange the rows by fold and class; features (n, models), targets and folds (n,)."""
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
    """Which method was chosen, and what choosing it on its own score may flatter.

    Attributes:
        method: the simplest that is within one standard error of the best.
        best: that with the highest mean.
        nested: (folds,) the score on each fold of the method chosen on the other folds' scores.
        optimism: an upper bound of how far the chosen method's mean exceeds, on average, what it
            would have on new rows, for having been chosen.
    """

    method: str
    best: str
    nested: tuple[float, ...]
    optimism: float


def choose(methods: Mapping[str, Candidate]) -> Choice:
    """Choose the simplest method that is within one standard error of the best.

    The standard error is that of the paired difference to the best (the one-standard-error rule
    of Breiman et al. 1984, *Classification and Regression Trees*, section 3.4.3).

    A method chosen for its score X_i is flattered by it. Whatever the rule, the chosen one is
    above its own expectation μ_i by at most max_i (X_i − μ_i), on average by at most the mean of
    that: as if all methods were equally good and luck alone decided. The bootstrap gives that
    mean, its resamples in place of X_i and the scores in place of μ_i; one method is subtracted
    from all, which takes away the luck that they share. The nested score chooses without the
    fold that it scores; the weights that the other folds are scored with have met that fold, so
    that a trace of it is left.

    Args:
        methods: the simplest first.
    """
    candidates = list(methods.values())
    folds = np.arange(len(candidates[0].score.folds))
    best, simplest = best_and_simplest(candidates, folds)
    nested = []
    for fold in folds:
        _, chosen = best_and_simplest(candidates, folds[folds != fold])
        nested.append(chosen.score.folds[fold])
    # (resamples, methods), each about its own score and against the chosen method
    luck = np.column_stack([other.areas.mean(1) - other.score.mean for other in candidates])
    luck -= (simplest.areas.mean(1) - simplest.score.mean)[:, None]
    optimism = float(luck.max(1).mean())
    return Choice(simplest.name, best.name, tuple(nested), optimism)


def best_and_simplest(
    candidates: Sequence[Candidate], folds: np.ndarray
) -> tuple[Candidate, Candidate]:
    """Return the best on these folds, and the first within a standard error of it."""
    means = [float(np.mean([other.score.folds[k] for k in folds])) for other in candidates]
    top = int(np.argmax(means))  # the first of equals, which is the simplest
    best = candidates[top]
    for mean, other in zip(means, candidates, strict=True):
        error = (best.areas[:, folds] - other.areas[:, folds]).mean(1).std(ddof=1)
        if means[top] - mean <= error:
            return best, other
    raise AssertionError("the best is within its own error")
