"""The figure of a search: what it shows, also of searches that found little."""

from __future__ import annotations

import numpy as np
import pytest

from physics.observation import COMPETITION, Observation
from search.plots import band_to_draw, break_at_gaps, draw_search
from search.result import ENVELOPE_BINS, SearchResult
from search.time_slides import Background
from search.triggers import Trigger


@pytest.fixture
def result(rng) -> SearchResult:
    made = SearchResult(1e9, 1e9 + 100, ("H1", "L1"), windows=ENVELOPE_BINS, live_time=90)
    made.background = Background(live_time=900)
    made.envelope[200:900] = rng.standard_normal(700)
    for rank in range(3):
        trigger = Trigger(9.0 - rank, 500 + rank, 1e9 + 40 + rank)
        if rank < 2:
            trigger.whitened = {name: rng.standard_normal(4096) for name in ("H1", "L1")}
            trigger.whitened_start = trigger.time - 1
        made.triggers.append(trigger)
    made.histogram[900:980:20] = 1
    made.background.histogram[850:900:10] = 3
    return made


def test_shows_scores_chance_and_a_map_of_each_detector(result):
    figure = draw_search(result, "title")
    assert len(figure.axes) == 2 + 2 * 2
    scores, counts, *maps = figure.axes
    assert scores.get_title() == "Loudest 9.00, second loudest 8.00"
    times = scores.lines[0].get_xdata()
    assert 13 < times.min() < 16  # a fifth of the way on, and 1.65 s
    assert {text.get_text() for text in counts.get_legend().get_texts()} >= {"found"}
    assert [axis.get_title() for axis in maps[:2]] == ["1: score 9.00, H1", "1: score 9.00, L1"]


def test_a_search_of_one_detector_without_slides(result, tmp_path):
    result.detectors, result.background.live_time = ("V1",), 0.0
    result.background.histogram[:] = 0
    del result.triggers[1:]
    result.triggers[0].whitened = {"V1": np.ones(4096)}
    figure = draw_search(result, "title")
    assert len(figure.axes) == 3
    figure.savefig(tmp_path / "one.png")


def test_a_noise_free_map_and_a_tone(result):
    tone = np.sin(2 * np.pi * 100 * np.arange(4096) / 2048) + 0.1
    result.triggers[0].whitened = {"H1": tone, "L1": tone}
    axis = draw_search(result, "title").axes[2]
    mesh = axis.collections[0]
    image = mesh.get_array().reshape(96, -1)
    frequency = np.geomspace(512, 20, 96)
    assert frequency[image.mean(axis=1).argmax()] == pytest.approx(100, rel=0.05)


def test_lines_break_at_gaps():
    times, values = break_at_gaps(np.array([0.0, 1, 2, 9, 10]), np.arange(5.0))
    assert np.isnan(times).tolist() == [False, False, False, True, False, False]
    assert np.isnan(values).sum() == 1


def test_maps_show_a_band_that_the_observation_has():
    assert band_to_draw(COMPETITION) == (20, 512)
    assert band_to_draw(Observation(detectors=("H1",), sample_rate=1024)) == (20, 256)
    assert band_to_draw(Observation(detectors=("H1",), sample_rate=64)) == (4, 16)
