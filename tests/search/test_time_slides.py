"""Time slides: their shifts, the windows that may enter them, and the rates they give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from search.segments import Segment, WindowGrid
from search.settings import SearchSettings
from search.time_slides import BackgroundEstimator, allow_windows, list_time_slides
from search.triggers import Trigger


def test_slides_never_leave_two_detectors_in_place():
    windows = 640
    slides = list_time_slides(windows, detectors=3, slides=1000, shift_windows=10)
    assert slides
    for shifts in slides:
        for a, b in itertools.combinations(shifts, 2):
            apart = (a - b) % windows * 0.1
            assert min(apart, windows * 0.1 - apart) >= 1 - 1e-9
    assert len({tuple(np.mod(shifts, windows)) for shifts in slides}) == len(slides)


def test_one_detector_has_nothing_to_slide_against():
    assert list_time_slides(640, detectors=1, slides=20, shift_windows=10) == []


def test_windows_around_an_excluded_merger_are_not_slid():
    grid = WindowGrid(1e9, 0.5, 100)
    allowed = allow_windows(grid, (20, 60), detectors=2, excluded=[1e9 + 20])
    assert allowed.shape == (2, 40)
    starts = grid.start_time(np.arange(20, 60))
    inside = (starts >= 1e9 + 18) & (starts <= 1e9 + 20.5)
    assert (allowed == ~inside).all()


def test_rates_count_background_triggers_as_loud():
    """A scorer that returns the mean of the second detector's window, over a ring of windows."""
    settings = SearchSettings(step=1, cluster=1)
    strain = np.zeros((3, 12 * 2048), np.float32)
    strain[1, 5 * 2048 : 6 * 2048] = 4.0  # half of windows 4 and 5
    starts = np.arange(11) * 2048
    clean = np.ones((2, 11), bool)
    segment = Segment(0, starts, strain, clean, {"H1": np.eye(1), "L1": np.eye(1)})
    triggers = [Trigger(3.0, 0, 1e9), Trigger(2.0, 1, 1e9), Trigger(1.0, 2, 1e9)]
    estimator = BackgroundEstimator(triggers, settings)
    slides = list_time_slides(11, detectors=2, slides=3, shift_windows=1)
    assert slides == [[0, 1], [0, 2], [0, 3]]
    found = estimator.score_slides(
        segment, slides, lambda windows: windows[:, 1].mean(axis=1), np.ones((2, 11), bool)
    )
    estimator.add(found, len(slides))
    background = estimator.finish()
    assert (background.slides, background.windows) == (3, 3 * 11)
    assert background.live_time == 33.0
    assert background.loudest == 2.0
    # each slide shows the bright second once; all other triggers are zeros
    assert [trigger.slid_as_loud for trigger in triggers] == [0, 3, 3]
    assert [trigger.rate for trigger in triggers] == pytest.approx([1 / 33, 4 / 33, 4 / 33])
