"""Triggers: the windows of a search that score higher than all their neighbours.

Successive windows overlap, so a merger raises the scores of many of them. Only the loudest within
`cluster` seconds becomes a trigger, as matched-filter searches cluster theirs in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# Bins for the number of triggers against their score (a mean logit).
HISTOGRAM_EDGES = np.linspace(-40, 60, 2001)


@dataclass
class Trigger:
    """A window that scores higher than its neighbours.

    Attributes:
        score: mean logit of the window.
        window: its number, counted from the start of the search.
        time: GPS time in s at which its merger would be.
        slid_as_loud: background triggers, from the time slides, with at least its score.
        rate: false-alarm rate, per s; NaN until the background is known.
        whitened: detector: (time,) float64 strain of unit variance around the merger; only kept
            for the loudest triggers.
        whitened_start: GPS time in s of the first of these samples.
    """

    score: float
    window: int
    time: float
    slid_as_loud: int = 0
    rate: float = math.nan
    whitened: dict[str, np.ndarray] = field(default_factory=dict)
    whitened_start: float = math.nan

    def keep_whitened(self, found: Mapping[str, np.ndarray], detectors: Sequence[str]) -> None:
        """Take the whitened strain of this window from what `cut_whitened_strain` returned.

        Args:
            found: arrays by name.
            detectors: with strain, in the order of the channels.
        """
        prefix = f"whitened_{self.window}_"
        if f"{prefix}start" in found:
            self.whitened_start = float(found[f"{prefix}start"])
            self.whitened = {
                name: found[f"{prefix}{name}"] for name in detectors if f"{prefix}{name}" in found
            }


def find_local_peaks(scores: np.ndarray, reach: int) -> np.ndarray:
    """Return the positions of the scores that no other within `reach` positions exceeds.

    Args:
        scores: (windows,); NaN marks a window without a score.
        reach: positions on either side to compare with, 1 or more.

    Returns:
        (peaks,) int64, ascending. Of equal scores within reach the first is the peak.
    """
    values = np.where(np.isfinite(scores), scores, -np.inf)
    edge = np.full(reach, -np.inf)
    padded = np.concatenate([edge, values, edge])
    # highest[i] is the maximum of values[i - reach : i], cut off at the ends of the row:
    # (windows + 2 reach,) -> (windows + reach + 1, reach) -> (windows + reach + 1,)
    highest = np.lib.stride_tricks.sliding_window_view(padded, reach).max(axis=1)
    before, after = highest[: len(values)], highest[reach + 1 :]
    # '>' before and '>=' after: of equal scores only the first remains
    return np.flatnonzero((values > before) & (values >= after))


class TriggerFinder:
    """`find_local_peaks` of scores that arrive piece by piece, with the same result.

    A window at the end of a piece may still be exceeded by the next piece, so the last `reach`
    windows are undecided until it arrives. Memory does not grow with the length of the search.

    Args:
        reach: windows on either side that must not score higher.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.tail = np.empty(0)  # scores with which the next piece must still be compared
        self.first = 0  # number of the first window of `tail`
        self.decided = 0  # windows before this number are known to be triggers or not

    def push(self, scores: np.ndarray, end: bool = False) -> list[tuple[int, float]]:
        """Take the next piece and return the triggers that are now certain.

        Args:
            scores: (windows,) of the piece.
            end: whether this is the last piece.

        Returns:
            (window number, score) of each new trigger, in order of time.
        """
        values = np.concatenate([self.tail, scores])
        known = self.first + len(values) - (0 if end else self.reach)
        numbers = self.first + find_local_peaks(values, self.reach)
        numbers = numbers[(numbers >= self.decided) & (numbers < known)]
        found = [(int(number), float(values[number - self.first])) for number in numbers]
        self.decided = max(known, self.decided)
        # An undecided window is compared with `reach` windows before it: keep twice the reach.
        cut = max(len(values) - 2 * self.reach, 0)
        self.tail, self.first = values[cut:], self.first + cut
        return found


def count_by_score(scores: np.ndarray) -> np.ndarray:
    """Return how many scores lie in each bin of `HISTOGRAM_EDGES`, (2000,) int64.

    Scores beyond the edges count in the outermost bins.
    """
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    return np.histogram(np.clip(scores, low, high), HISTOGRAM_EDGES)[0]
