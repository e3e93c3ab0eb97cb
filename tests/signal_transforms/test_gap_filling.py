"""Gaps are filled with the conditional expectation, beside dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from physics.noise import toeplitz
from signal_transforms.gap_filling import GapFiller, fill_gaps, find_runs
from signal_transforms.spectral_whitening import whitening_taps

N, RATE = 64, 128.0


def steep_psd() -> np.ndarray:
    return 2 / RATE * (1 + 300 * np.exp(-np.linspace(0, 12, N + 1)))


def test_runs_of_a_mask() -> None:
    assert find_runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)).tolist() == [[0, 2], [4, 5], [6, 7]]
    assert not len(find_runs(np.zeros(3, bool)))


@pytest.mark.parametrize("gap", [(150, 151), (140, 180), (120, 184)])
def test_a_gap_is_filled_with_its_expectation_given_all_else(gap: tuple[int, int]) -> None:
    filler = GapFiller(whitening_taps(steep_psd(), RATE))
    x = np.random.default_rng(0).standard_normal(400).cumsum() / 10
    # K of 400 samples, far from whose ends the gap lies
    lags = np.zeros(400)
    lags[: 2 * N + 1] = filler.inverse
    inverse = toeplitz(lags)
    missing = np.zeros(400, bool)
    missing[slice(*gap)] = True
    expected = -np.linalg.solve(
        inverse[missing][:, missing], inverse[missing][:, ~missing] @ x[~missing]
    )
    x[missing] = 1e6  # whatever it holds is not looked at
    fill_gaps(x, missing, filler)
    np.testing.assert_allclose(x[missing], expected, rtol=1e-3, atol=1e-3 * abs(expected).max())


def test_a_line_goes_on_through_a_gap_and_past_the_end() -> None:
    frequencies = np.linspace(0, RATE / 2, N + 1)
    # as wide as a measured line, whose PSD is smoothed by a window
    psd = 2 / RATE * (1 + 1e6 * (abs(frequencies - 20) < 3))
    times = np.arange(600) / RATE
    line = 100 * np.sin(2 * np.pi * 20 * times)
    x = line + np.random.default_rng(0).standard_normal(600)
    missing = np.zeros(600, bool)
    missing[300:330] = missing[580:] = True
    fill_gaps(x, missing, GapFiller(whitening_taps(psd, RATE)))
    assert abs(x - line)[300:330].max() < 10
    assert abs(x - line)[580:585].max() < 35  # beyond the end it must fade


def test_the_middle_of_a_long_gap_stays_empty() -> None:
    x, missing = np.ones(700), np.zeros(700, bool)
    missing[100:600] = True
    fill_gaps(x, missing, GapFiller(whitening_taps(steep_psd(), RATE)))
    assert not x[100 + N : 600 - N].any()
    assert x[100] > 0.5 < x[599]
