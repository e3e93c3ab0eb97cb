"""The search of one stretch of conditioned strain, as it is and in its time slides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from search.clustering import find_loudest_within
from search.peaks import applied_shifts, side_names_of
from search.slides import times_by_detector
from search.trigger_table import TriggerTable, concatenate_tables

if TYPE_CHECKING:
    from search.conditioned_stretch import ConditionedStretch
    from search.peaks import Peaks, StretchScorer


def search_stretch(
    conditioned: ConditionedStretch,
    scorer: StretchScorer,
    slides: Sequence[Mapping[str, float]],
    cluster: float,
    least: float,
    after_slide: Callable[[], None] = lambda: None,
) -> tuple[TriggerTable, np.ndarray]:
    """Return the triggers of a stretch, and how many seconds of each slide were searched.

    Args:
        conditioned: strain of a stretch.
        scorer: finds the peaks of its statistic.
        slides: shifts in s by detector; {} is the strain as it is. `list_time_slides` returns the
            strain as it is first, so that slide 0 is no slide.
        cluster: of all triggers within so many seconds only the loudest is kept.
        least: triggers with lower scores are left out.
        after_slide: called after each slide, e.g. to show progress.

    Returns:
        The triggers in order of slide and time, and (slides,) float64, s.
    """
    scorer.prepare(conditioned)
    tables, live = [], np.zeros(len(slides))
    for number, shifts in enumerate(slides):
        peaks = scorer.peaks(shifts, least)
        kept = find_loudest_within(peaks.time, peaks.score, cluster)
        # A scorer may return more than it was asked for. Quieter peaks cannot silence louder ones.
        kept = kept[peaks.score[kept] >= least]
        shifted = applied_shifts(scorer, shifts)
        found = make_trigger_table(peaks, kept, conditioned, number, shifted)
        tables.append(found.with_sides(side_names_of(scorer), peaks.sides[kept]))
        live[number] = scorer.live_time(shifts)
        after_slide()
    if not tables:
        return TriggerTable.empty(conditioned.observation.detectors, side_names_of(scorer)), live
    return concatenate_tables(tables), live


def make_trigger_table(
    peaks: Peaks,
    kept: np.ndarray,
    conditioned: ConditionedStretch,
    slide: int,
    shifts: Mapping[str, float],
) -> TriggerTable:
    """Return the table of some peaks of a slide.

    Args:
        peaks: of a stretch.
        kept: (n,) rows to keep.
        conditioned: the stretch.
        slide: its number.
        shifts: of the slide, s by detector.
    """
    stretch, detectors = conditioned.stretch, conditioned.observation.detectors
    time = np.asarray(peaks.time, np.float64)[kept]
    count = len(kept)
    return TriggerTable(
        detectors=tuple(detectors),
        time=time,
        score=np.asarray(peaks.score, np.float64)[kept],
        detector_scores=np.asarray(peaks.detector_scores, np.float64)[kept],
        template=np.asarray(peaks.template, np.int32)[kept],
        mass1=np.asarray(peaks.mass1, np.float64)[kept],
        mass2=np.asarray(peaks.mass2, np.float64)[kept],
        snr=np.asarray(peaks.snr, np.float64)[kept],
        chi_squared=np.full((count, len(detectors)), np.nan),
        slide=np.full(count, slide, np.int32),
        stretch=np.full(count, stretch.number, np.int32),
        detector_times=times_by_detector(
            time, shifts, detectors, stretch.detectors, (stretch.start, stretch.end)
        ),
        combination=np.full(count, "".join(stretch.detectors)),
    )
