"""The search of one stretch: its triggers, its slides, and when their strain was recorded."""

from __future__ import annotations

import numpy as np
from fake_scorer import PowerScorer, make_stretch

from search.search_stretch import search_stretch
from search.slides import list_time_slides

START = 1e9


def noise_with_events(rng: np.random.Generator, seconds: int, *events: float) -> np.ndarray:
    x = rng.standard_normal(seconds * 2048)
    for event in events:
        x[round(event * 2048) : round(event * 2048) + 64] += 10
    return x.astype(np.float32)


def test_finds_an_event_and_its_slid_halves(rng: np.random.Generator) -> None:
    strain = {name: noise_with_events(rng, 40, 20.01) for name in ("H1", "L1")}
    scorer = PowerScorer()
    slides = list_time_slides(40.0, ("H1", "L1"), 3, 1.0)
    table, live = search_stretch(make_stretch(strain, START, 7), scorer, slides, 2.0, -np.inf)
    assert scorer.prepared == 1
    assert live.tolist() == [40.0] * 4
    loudest = table.take(np.array([table.score.argmax()]))
    assert loudest.slide[0] == 0
    assert abs(loudest.time[0] - START - 20.03) < 0.05
    np.testing.assert_allclose(loudest.detector_scores[0].sum(), loudest.score[0], rtol=1e-6)
    assert loudest.detector_times[0].tolist() == [loudest.time[0]] * 2
    assert set(table.stretch) == {7}
    assert set(table.combination) == {"H1L1"}
    # In each slide the event of H1 alone and that of L1 alone are the two loudest.
    for slide in (1, 2, 3):
        rows = table.take(table.slide == slide)
        assert np.diff(rows.time).min() > 2 or slide < 3  # clustered
        loud = rows.take(rows.score > 30)
        nearest = np.abs(loud.detector_times - START - 20.03).min(1)
        assert (nearest < 0.05).all()
        assert np.ptp(loud.detector_times, axis=1).min() >= slide - 1e-6


def test_quiet_triggers_are_left_out(rng: np.random.Generator) -> None:
    strain = {name: noise_with_events(rng, 40, 20.01) for name in ("H1", "L1")}
    stretch = make_stretch(strain, START)
    every, _ = search_stretch(stretch, PowerScorer(), [{}], 1.0, -np.inf)
    loud, _ = search_stretch(stretch, PowerScorer(), [{}], 1.0, 2.5)
    assert 0 < len(loud) < len(every)
    assert loud.time.tolist() == every.time[every.score >= 2.5].tolist()


def test_a_stretch_of_one_detector(rng: np.random.Generator) -> None:
    stretch = make_stretch({"L1": noise_with_events(rng, 40, 20.01)}, START)
    table, _ = search_stretch(stretch, PowerScorer(), [{}], 1.0, -np.inf)
    assert set(table.combination) == {"L1"}
    assert np.isnan(table.detector_scores[:, 0]).all()
    assert np.isnan(table.detector_times[:, 0]).all()
    assert np.isfinite(table.detector_times[:, 1]).all()


def test_no_peaks_at_all() -> None:
    stretch = make_stretch({name: np.zeros(4096 * 4, np.float32) for name in ("H1", "L1")}, START)
    table, live = search_stretch(stretch, PowerScorer(), [{}, {"L1": 1.0}], 1.0, 5.0)
    assert len(table) == 0
    assert live.tolist() == [8.0, 8.0]
