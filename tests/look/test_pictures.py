"""The pictures have what they should: axes with units, every detector, every channel."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import configs
from configuration.overrides import override
from look.network_input import NetworkInput, prepare
from look.pictures import colour_range, draw_overview, draw_sample, frequency_ticks
from look.samples import read_samples


@pytest.fixture(scope="module")
def looked(tables) -> NetworkInput:
    config = override(configs.DemoSpec, tables)
    return prepare(config, read_samples(config, 2))


def test_a_sample_has_strain_input_and_images_with_units(looked) -> None:
    figure = draw_sample(looked, 1)
    axes = figure.axes
    labels = [axis.get_ylabel() for axis in axes]
    for name in ("H1", "L1", "V1"):
        assert labels.count(f"{name}, strain") == 1
        assert labels.count(f"{name}, whitened") == 2
        assert labels.count(f"{name}, frequency (Hz)") == 2
    assert {axis.get_xlabel() for axis in axes} >= {"time in the window (s)"}
    strain = next(axis for axis in axes if axis.get_ylabel() == "L1, strain")
    (line,) = strain.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), looked.samples.strain[1, 1].numpy())
    assert line.get_xdata()[[0, -1]] == pytest.approx([0, 2 - 1 / 2048])
    whitened = next(axis for axis in axes if axis.get_ylabel() == "L1, whitened")
    assert len(whitened.get_lines()[0].get_xdata()) == 2048  # decimated; still two seconds
    assert whitened.get_lines()[0].get_xdata()[-1] == pytest.approx(2 - 1 / 1024)
    assert looked.samples.ids[1] in figure.get_suptitle()


def test_low_frequencies_lie_below(looked) -> None:
    figure = draw_sample(looked, 0)
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == "H1, frequency (Hz)")
    heights = [axis.transData.transform((0, place))[1] for place in axis.get_yticks()]
    words = [float(text.get_text()) for text in axis.get_yticklabels()]
    assert words == sorted(words) == [20, 40, 80, 160, 320]
    assert heights == sorted(heights)


def test_ticks_of_rows_that_rise_and_that_fall() -> None:
    rows = np.geomspace(20, 320, 9)  # two rows an octave
    places, words = frequency_ticks(rows)
    assert words == ["20", "40", "80", "160", "320"]
    assert places == pytest.approx([0.5, 2.5, 4.5, 6.5, 8.5])
    places, _ = frequency_ticks(rows[::-1])
    assert places == pytest.approx([8.5, 6.5, 4.5, 2.5, 0.5])


def test_the_overview_has_a_row_for_each_sample(looked) -> None:
    figure = draw_overview(looked)
    first = [axis for axis in figure.axes if looked.samples.ids[0] in axis.get_ylabel()]
    assert len(first) == 1
    assert [text.get_text() for text in first[0].get_yticklabels()] == ["H1", "L1", "V1"]
    assert len(figure.axes) == 2 * (3 + 3)  # strain, two stages, an image a channel


def test_colours_do_without_what_is_no_number() -> None:
    assert colour_range(np.array([[np.nan, 1.0], [2.0, np.inf]])) == pytest.approx((1.01, 1.997))
    assert colour_range(np.full((2, 2), np.nan)) == (0.0, 1.0)
    assert colour_range(np.ones((2, 2))) == (1.0, 2.0)


def test_titles_of_long_chains_stay_in_their_columns(looked) -> None:
    """Of an overview without images, whose last column ends at the edge of the page."""
    chain = " -> ".join(
        ["Whiten(band=(20, 500))", "SwapChannel", "FlipWave", "AddHighFrequency"] * 2
    )
    stages = [
        dataclasses.replace(stage, transforms=[chain], image=None)
        for stage in (looked.plain, looked.augmented)
    ]
    figure = draw_overview(dataclasses.replace(looked, plain=stages[0], augmented=stages[1]))
    figure.draw_without_rendering()
    axes = [axis for axis in figure.axes if axis.get_title()]
    places = [axis.title.get_window_extent() for axis in axes]
    assert len(places) == 3
    assert chain.split()[-1] in axes[-1].get_title()
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(places))
    assert places[0].x0 > 0
    assert places[-1].x1 < figure.bbox.x1
