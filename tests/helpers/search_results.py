"""Results of searches made by hand, for the tests of what is written and drawn of them."""

from __future__ import annotations

import numpy as np
from trigger_tables import DETECTORS, make_table

from physics.observation import Observation
from search.background import Background
from search.live_times import LiveTimes
from search.result import SearchResult, WhitenedStrain
from search.slides import list_time_slides

HOUR = 3600.0
START = 1e9


def make_result(
    times: list[float],
    scores: list[float],
    slid: list[float],
    *,
    slides: int = 20,
    seconds: float = HOUR,
    reach: float = 4.5,
    mapped: int = 0,
) -> SearchResult:
    """Return the result of a search of H1 and L1 of an hour.

    Args:
        times: of triggers, s after the start.
        scores: of them, falling.
        slid: scores of the triggers of the first time slide.
        slides: how many there are.
        seconds: of the stretch.
        reach: see `Background.remove_signals`.
        mapped: triggers with whitened strain.
    """
    bounds = (START, START + seconds)
    shifts = list_time_slides(seconds, ("H1", "L1"), slides, 1.0)
    live = LiveTimes.of_stretch(
        DETECTORS, 0, bounds, ("H1", "L1"), shifts, np.full(len(shifts), seconds)
    )
    places = START + seconds * (np.arange(len(slid)) + 0.5) / max(len(slid), 1)
    shift = shifts[1] if slides else {}
    table = make_table(places, slid, slide=1, shifts=shift, bounds=bounds)
    observed = live.take(live.slide == 0).total_by_combination()
    background = Background(table, live.take(live.slide > 0), observed)
    found = make_table([START + time for time in times], scores)
    rng = np.random.default_rng(0)
    whitened = {
        row: WhitenedStrain(
            float(found.time[row]) - 1, {name: rng.standard_normal(4096) for name in ("H1", "L1")}
        )
        for row in range(mapped)
    }
    return SearchResult(
        *bounds,
        ("H1", "L1"),
        found,
        background.remove_signals(found, reach),
        background,
        stretches=1,
        live_seconds=observed,
        slides=slides,
        whitened=whitened,
        observation=Observation(),
    )
