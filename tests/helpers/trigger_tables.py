"""Small tables of triggers, for the tests of what a search makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.slides import times_by_detector
from search.trigger_table import TriggerTable

DETECTORS = ("H1", "L1", "V1")


def make_table(
    time: Sequence[float],
    score: Sequence[float],
    combination: str = "H1L1",
    *,
    slide: int = 0,
    shifts: dict[str, float] | None = None,
    bounds: tuple[float, float] = (0.0, 1e12),
    stretch: int = 0,
) -> TriggerTable:
    """Return triggers of one slide of one stretch."""
    count, times = len(time), np.asarray(time, np.float64)
    names = [combination[first : first + 2] for first in range(0, len(combination), 2)]
    recorded = times_by_detector(times, shifts or {}, DETECTORS, names, bounds)
    return TriggerTable(
        detectors=DETECTORS,
        time=times,
        score=np.asarray(score, np.float64),
        detector_scores=np.where(np.isfinite(recorded), 1.0, np.nan),
        template=np.full(count, -1, np.int32),
        mass1=np.full(count, np.nan),
        mass2=np.full(count, np.nan),
        snr=np.full((count, 3), np.nan),
        chi_squared=np.full((count, 3), np.nan),
        slide=np.full(count, slide, np.int32),
        stretch=np.full(count, stretch, np.int32),
        detector_times=recorded,
        combination=np.full(count, combination),
    )
