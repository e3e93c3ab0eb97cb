"""One set of scores as the report draws it: its AUC, a thinned ROC curve and a histogram.

A ROC curve of half a million samples has as many corners. `thin_roc_curve` keeps a few hundred of
them, each a true operating point, and returns how far the line through them is from the full curve.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.calibration import log_loss, measure_reliability
from experiments.scores import auc_with_error, roc_corners
from metrics import check_scores, efficiency_at_fpr

MOST_POINTS = 400  # of a ROC curve
TOLERANCE = 5e-4  # of the unit square: half a pixel of a plot that is a thousand pixels wide
LEVELS_PER_DECADE = 16  # of false-alarm probability, for the logarithmic axis
BINS = 60
FALSE_ALARMS = (0.01, 0.001)


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve, and the largest distance of the full curve from the line through them.

    `worst` is a perpendicular distance in the unit square. The areas under the thinned and the full
    curve differ by less than 2 · worst, because the curve is shorter than 2.
    """

    false_alarms: np.ndarray
    efficiency: np.ndarray
    worst: float

    def to_plain(self) -> dict[str, Any]:
        # Four significant digits on the horizontal axis: a logarithmic one shows the smallest.
        return {
            "x": [float(f"{value:.4g}") for value in self.false_alarms],
            # 1e-5 is a fiftieth of `TOLERANCE`.
            "y": [round(float(value), 5) for value in self.efficiency],
        }


@dataclass(frozen=True)
class MeasuredScores:
    """The AUC of one set of scores on one set of samples, and what is drawn of them.

    Attributes:
        auc, error: the area and its standard error; None if it cannot be computed.
        stored: whether they come from summary.json, so that there is no curve to draw.
        n, signals: the number of samples, and of signals among them.
        found: the share of signals found at each false-alarm probability for which there are
            enough noise samples.
        calibration: the reliability diagram, as `reliability_data` returns it.
    """

    auc: float
    error: float | None = None
    stored: bool = False
    n: int = 0
    signals: int = 0
    curve: RocCurve | None = None
    histogram: dict[str, Any] | None = None
    found: dict[float, float] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None

    @property
    def above_guessing(self) -> float | None:
        """How far two standard deviations of random scores reach above 0.5; None if unknown.

        The AUC of n1 signals and n0 noise samples that are scored at random has a variance of
        (n1 + n0 + 1) / (12 n1 n0) (Mann and Whitney 1947).
        """
        noise = self.n - self.signals
        if self.signals > 0 and noise > 0:
            return 2 * math.sqrt((self.n + 1) / (12 * self.signals * noise))
        return None if self.error is None else 2 * self.error

    @property
    def is_guessing(self) -> bool:
        """Whether random scores might have this AUC, or it lies below 0.5 altogether."""
        return self.above_guessing is not None and self.auc <= 0.5 + self.above_guessing

    def to_plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"auc": self.auc, "error": self.error, "stored": self.stored}
        if self.curve is not None:
            plain |= {"n": self.n, "signals": self.signals, "roc": self.curve.to_plain()}
            plain |= {"hist": self.histogram, "found": [self.found.get(p) for p in FALSE_ALARMS]}
            plain["calibration"] = self.calibration
        return plain


def measure_scores(
    targets: np.ndarray, scores: np.ndarray, drawn: np.ndarray | None = None
) -> MeasuredScores:
    """Return the AUC of (n,) scores with its DeLong error, its ROC curve and its histogram.

    Args:
        drawn: (n,) the values of the histogram; None means the scores themselves.

    Raises:
        UserError: as in `metrics.check_scores`.
    """
    labels, checked = check_scores(targets, scores)
    signals = int(labels.sum())
    auc, error = auc_with_error(labels, checked)
    noise = labels.size - signals
    # A threshold with fewer than 5 noise samples above it is mostly chance.
    found = {p: efficiency_at_fpr(labels, checked, p) for p in FALSE_ALARMS if noise * p >= 5}
    return MeasuredScores(
        auc,
        error,
        n=labels.size,
        signals=signals,
        curve=thin_roc_curve(*roc_corners(labels, checked)),
        histogram=class_histogram(labels, checked if drawn is None else drawn),
        found=found,
        calibration=reliability_data(labels, checked),
    )


def reliability_data(labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """Return the reliability diagram of (n,) logits in JSON types, see experiments/calibration.py.

    Returns:
        `x`, `y`: predicted probability and share of signals of each bin; `low`, `high`: the 95 %
        interval of the share; `gap`: their mean distance; `loss`: the mean cross-entropy.
    """
    found = measure_reliability(labels, logits)
    parts = {"x": found.probability, "y": found.share, "low": found.low, "high": found.high}
    rounded = {key: values.round(4).tolist() for key, values in parts.items()}
    return rounded | {"gap": round(found.gap, 5), "loss": round(log_loss(labels, logits), 5)}


def thin_roc_curve(
    false_alarms: np.ndarray, efficiency: np.ndarray, most: int = MOST_POINTS
) -> RocCurve:
    """Keep the corners of a ROC curve that can be seen, on linear and on logarithmic axes.

    It keeps both ends and, at each of 16 levels per decade of false-alarm probability, the corners
    at the foot and at the top of the next step. Then it adds the corner farthest from the line so
    far (Ramer 1972, Douglas and Peucker 1973), one by one, until none is farther than `TOLERANCE`
    or `most` are kept. Corners are never moved or averaged.

    Args:
        false_alarms, efficiency: (n,) each, not falling, from (0, 0) to (1, 1).
    """
    last = len(false_alarms) - 1
    positive = false_alarms[false_alarms > 0]
    # The first corner off the vertical axis is where a logarithmic axis can begin.
    decades = -np.log10(positive[0])
    levels = np.logspace(-decades, 0, int(decades * LEVELS_PER_DECADE) + 2)
    # Slightly below each level, so that rounding does not step over a corner exactly on it.
    levels = np.concatenate([[0.0], levels * (1 - 1e-9)])
    feet = np.searchsorted(false_alarms, levels).clip(0, last)
    # Corners of equal false alarms form a vertical step; `right` finds the end of it.
    tops = np.searchsorted(false_alarms, false_alarms[feet], side="right") - 1
    kept = np.unique([0, *feet, *tops, last]).tolist()
    # (-distance, start, farthest corner, end): the corner to add next is at the top
    heap: list[tuple[float, int, int, int]] = []

    def consider(start: int, end: int) -> None:
        """Find the corner farthest from the line between two kept ones."""
        if end - start < 2:
            return
        x, y = false_alarms[start : end + 1], efficiency[start : end + 1]
        across, up = x[-1] - x[0], y[-1] - y[0]
        # The distance of (x, y) from the line through the ends, |across·Δy − up·Δx| / length
        distance = np.abs(across * (y - y[0]) - up * (x - x[0])) / np.hypot(across, up)
        at = int(distance.argmax())
        heapq.heappush(heap, (-float(distance[at]), start, start + at, end))

    for start, end in itertools.pairwise(kept):
        consider(start, end)
    while heap and len(kept) < most and -heap[0][0] > TOLERANCE:
        _, start, at, end = heapq.heappop(heap)
        # The new corner splits its line in two, each with a farthest corner of its own.
        kept.append(at)
        consider(start, at)
        consider(at, end)
    kept.sort()
    # The top of the heap is the largest distance that is left.
    return RocCurve(false_alarms[kept], efficiency[kept], max(0.0, -heap[0][0]) if heap else 0.0)


def class_histogram(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return counts of both classes in equal bins over the middle 99.8 % of the scores.

    Scores beyond are counted in the first and the last bin, so that every sample is counted.
    """
    low, high = (float(value) for value in np.percentile(scores, [0.1, 99.9]))
    if not high > low:  # all scores are equal: a bin needs a width
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, BINS + 1)
    clipped = scores.clip(low, high)
    counts = {
        name: np.histogram(clipped[chosen], edges)[0].tolist()
        for name, chosen in (("noise", ~labels), ("signal", labels))
    }
    return {"low": float(f"{low:.5g}"), "high": float(f"{high:.5g}"), **counts}
