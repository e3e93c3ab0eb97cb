"""The figure of a search: what it shows, also of searches that found little."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from search_results import START, make_result

from physics.observation import COMPETITION, Observation
from search.plots import band_to_draw, draw_search
from search.result import SearchResult, WhitenedStrain


@pytest.fixture
def result() -> SearchResult:
    return make_result([1400.0, 500.0, 900.0], [9.0, 8.0, 7.0], [6.0, 5.0, 4.0] * 10, mapped=2)


def test_shows_scores_chance_and_a_map_of_each_detector(result: SearchResult) -> None:
    figure = draw_search(result, "title")
    assert len(figure.axes) == 2 + 2 * 2
    scores, counts, *maps = figure.axes
    assert scores.get_title() == "Loudest 9.00, second loudest 8.00"
    assert scores.lines[0].get_xdata().tolist() == [1400.0, 500.0, 900.0]
    texts = {text.get_text() for text in counts.get_legend().get_texts()}
    assert texts >= {"found", "background of H1L1 (time slides)", "one slid trigger"}
    assert [axis.get_title() for axis in maps[:2]] == ["1: score 9.00, H1", "1: score 9.00, L1"]


def test_the_scale_shows_20_and_20000() -> None:
    result = make_result([1400.0, 500.0], [20_000.0, 20.0], [6.0, 5.0, -4.0])
    figure = draw_search(result, "title")
    figure.draw_without_rendering()
    axis = figure.axes[0]
    low, high = (axis.transData.transform((0, score))[1] for score in (20.0, 20_000.0))
    bottom = axis.transData.transform((0, -4.0))[1]
    height = axis.bbox.height
    assert (high - low) / height > 0.3
    assert (low - bottom) / height > 0.1  # 24 of 20,000 are no thousandth here


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([281.9, 1.4, -3.0], {0.0, 10.0, 30.0, 100.0}),
        ([20_000.0, 20.0], {100.0, 1000.0, 10_000.0}),
        ([6.5, 0.5, -3.0], {0.0, 2.0, 4.0, 6.0}),
        ([-20.0, -300.0], {-30.0, -100.0}),
    ],
)
def test_ticks_of_scores_do_not_overlap(scores: list[float], wanted: set[float]) -> None:
    figure = draw_search(make_result([1400.0, 500.0, 9.0][: len(scores)], scores, [0.5]), "title")
    figure.draw_without_rendering()
    upright, level = figure.axes[0].yaxis, figure.axes[1].xaxis
    for axis in (upright, level):
        low, high = axis.get_view_interval()
        shown = [
            label.get_window_extent()
            for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            if low <= place <= high
        ]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(shown, 2))
        assert not len(axis.get_minorticklocs())
    assert wanted <= set(np.round(upright.get_majorticklocs(), 6).tolist())


def test_a_search_of_one_detector_without_slides(tmp_path: Path) -> None:
    result = make_result([40.0], [9.0], [], slides=0)
    strain = {0: WhitenedStrain(START + 39.0, {"V1": np.ones(4096)})}
    figure = draw_search(dataclasses.replace(result, whitened=strain), "title")
    assert len(figure.axes) == 3
    figure.savefig(tmp_path / "one.png")


def test_a_search_without_triggers(tmp_path: Path) -> None:
    draw_search(make_result([], [], []), "title").savefig(tmp_path / "none.png")


def test_a_noise_free_map_and_a_tone(result: SearchResult) -> None:
    tone = np.sin(2 * np.pi * 100 * np.arange(4096) / 2048) + 0.1
    strain = {0: WhitenedStrain(START + 1399.0, {"H1": tone, "L1": tone})}
    axis = draw_search(dataclasses.replace(result, whitened=strain), "title").axes[2]
    mesh = axis.collections[0]
    image = mesh.get_array().reshape(96, -1)
    frequency = np.geomspace(512, 20, 96)
    assert frequency[image.mean(axis=1).argmax()] == pytest.approx(100, rel=0.05)


def test_maps_show_a_band_that_the_observation_has() -> None:
    assert band_to_draw(COMPETITION) == (20, 512)
    assert band_to_draw(Observation(detectors=("H1",), sample_rate=1024)) == (20, 256)
    assert band_to_draw(Observation(detectors=("H1",), sample_rate=64)) == (4, 16)
