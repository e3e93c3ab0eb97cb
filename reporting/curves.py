"""What the report draws of one set of scores: its AUC, a ROC curve and a histogram kept small.

A ROC curve of half a million samples has as many corners. `thin` keeps a few hundred of them, all
of them true operating points, and knows how far the line through them strays from the full curve.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.summary import roc_corners
from metrics import AUC, check_scores, delong_error, efficiency_at_fpr
from runtime.errors import UserError

MOST_POINTS = 400  # of a ROC curve
TOLERANCE = 5e-4  # of the unit square: half a pixel of a plot that is a thousand pixels wide
LEVELS_PER_DECADE = 16  # of false-alarm probability, so that a logarithmic axis is served too
BINS = 60
FALSE_ALARMS = (0.01, 0.001)


@dataclass(frozen=True)
class Curve:
    """Points of a ROC curve, and the farthest that the full curve lies from the line through them.

    `worst` is a perpendicular distance in the unit square, so the area under the thinned curve
    differs from that under the full one by less than 2 · worst, the curve's length being under 2.
    """

    false_alarms: np.ndarray
    efficiency: np.ndarray
    worst: float

    def to_plain(self) -> dict[str, Any]:
        # Four significant digits on the horizontal axis: a logarithmic one shows the smallest.
        return {
            "x": [float(f"{value:.4g}") for value in self.false_alarms],
            "y": [round(float(value), 5) for value in self.efficiency],
        }


@dataclass(frozen=True)
class Sample:
    """How one set of scores does on one set of samples.

    Attributes:
        auc, error: the area and its standard error; None where they cannot be had.
        stored: taken from a summary written earlier, so that there is nothing to draw.
        found: the share of signals found at each false-alarm probability that the noise samples
            are many enough to set.
    """

    auc: float
    error: float | None = None
    stored: bool = False
    n: int = 0
    signals: int = 0
    curve: Curve | None = None
    histogram: dict[str, Any] | None = None
    found: dict[float, float] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"auc": self.auc, "error": self.error, "stored": self.stored}
        if self.curve is not None:
            plain |= {"n": self.n, "signals": self.signals, "roc": self.curve.to_plain()}
            plain |= {"hist": self.histogram, "found": [self.found.get(p) for p in FALSE_ALARMS]}
        return plain


def measure(targets: np.ndarray, scores: np.ndarray, drawn: np.ndarray | None = None) -> Sample:
    """Return the AUC of (n,) scores with its DeLong error, and what is drawn of them.

    The closed form and not `summary.py`'s bootstrap: with the competition's 560,000 samples the
    latter takes longer than everything else in the report, and the two agree within a few percent.

    Args:
        drawn: (n,) the scale that the histogram is drawn on; the scores themselves where None.

    Raises:
        UserError: as in `metrics.check_scores`.
    """
    labels, checked = check_scores(targets, scores)
    signals = int(labels.sum())
    try:
        error = delong_error(labels, checked)
    except UserError:  # a single sample of a class: there is an area, and no error of it
        error = None
    noise = labels.size - signals
    found = {p: efficiency_at_fpr(labels, checked, p) for p in FALSE_ALARMS if noise * p >= 5}
    return Sample(
        AUC()(labels, checked),
        error,
        n=labels.size,
        signals=signals,
        curve=thin(*roc_corners(labels, checked)),
        histogram=histogram(labels, checked if drawn is None else drawn),
        found=found,
    )


def thin(false_alarms: np.ndarray, efficiency: np.ndarray, most: int = MOST_POINTS) -> Curve:
    """Keep the corners of a ROC curve that matter to the eye, on linear and logarithmic axes.

    Kept are both ends and, at each of 16 levels per decade of false-alarm probability, the corners
    at the foot and at the top of the next step. Then, one by one, the corner farthest from the
    line drawn so far (Ramer 1972, Douglas and Peucker 1973), until none is farther than
    `TOLERANCE` or `most` are kept. Corners are never moved, averaged or invented.

    Args:
        false_alarms, efficiency: (n,) each, not falling, from (0, 0) to (1, 1).
    """
    last = len(false_alarms) - 1
    positive = false_alarms[false_alarms > 0]
    decades = -np.log10(positive[0])
    levels = np.logspace(-decades, 0, int(decades * LEVELS_PER_DECADE) + 2)
    # A hair below, so that rounding does not step over the corner that is meant.
    levels = np.concatenate([[0.0], levels * (1 - 1e-9)])
    feet = np.searchsorted(false_alarms, levels).clip(0, last)
    tops = np.searchsorted(false_alarms, false_alarms[feet], side="right") - 1
    kept = np.unique([0, *feet, *tops, last]).tolist()
    heap: list[tuple[float, int, int, int]] = []

    def consider(start: int, end: int) -> None:
        """Find the corner farthest from the line between two kept ones."""
        if end - start < 2:
            return
        x, y = false_alarms[start : end + 1], efficiency[start : end + 1]
        across, up = x[-1] - x[0], y[-1] - y[0]
        distance = np.abs(across * (y - y[0]) - up * (x - x[0])) / np.hypot(across, up)
        at = int(distance.argmax())
        heapq.heappush(heap, (-float(distance[at]), start, start + at, end))

    for start, end in itertools.pairwise(kept):
        consider(start, end)
    while heap and len(kept) < most and -heap[0][0] > TOLERANCE:
        _, start, at, end = heapq.heappop(heap)
        kept.append(at)
        consider(start, at)
        consider(at, end)
    kept.sort()
    return Curve(false_alarms[kept], efficiency[kept], max(0.0, -heap[0][0]) if heap else 0.0)


def histogram(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return counts of both classes in equal bins over the middle 99.8 % of the scores.

    What lies beyond is counted in the first and the last bin, so that every sample is counted.
    """
    low, high = (float(value) for value in np.percentile(scores, [0.1, 99.9]))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, BINS + 1)
    clipped = scores.clip(low, high)
    counts = {
        name: np.histogram(clipped[chosen], edges)[0].tolist()
        for name, chosen in (("noise", ~labels), ("signal", labels))
    }
    return {"low": float(f"{low:.5g}"), "high": float(f"{high:.5g}"), **counts}
