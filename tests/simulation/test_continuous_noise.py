"""Continuous noise has the PSD and autocovariance of the curve, also across blocks."""

from __future__ import annotations

import numpy as np
import pytest

from physics.noise import autocovariance
from physics.observation import Observation
from simulation.continuous_noise import (
    BLOCK_PIECES,
    PIECE_SECONDS,
    ContinuousNoise,
    colouring_filter,
)

# At this rate a block of 448 s has 114,688 samples: many blocks cost little.
SLOW = Observation(("H1",), 256, 4.0, 10.0, "aLIGOZeroDetHighPower")


@pytest.mark.parametrize(
    ("curve", "largest", "typical"),
    [
        # The largest error is at a kink of the table; a smooth curve has none that matters.
        ("aLIGOZeroDetHighPower", 1e-4, 1e-8),
        ("virgo_O4high", 2e-2, 1e-8),
    ],
)
def test_the_filter_has_the_curve_as_its_power(curve, largest, typical) -> None:
    noise = Observation(("H1",), 2048, 2.0, 10.0, curve).noise(0)
    size = (BLOCK_PIECES + 2) * PIECE_SECONDS * 2048
    frequencies = np.fft.rfftfreq(size, 1 / 2048)
    power = np.abs(colouring_filter(noise)) ** 2 * 2 / 2048
    expected = noise.psd_on_grid(size)
    above = frequencies > 10.25
    error = np.abs(power[above] / expected[above] - 1)
    assert error.max() < largest
    assert np.median(error) < typical
    assert power[frequencies < 9.75].max() < 1e-9 * expected[above][0]


def test_welch_psd_is_the_curve() -> None:
    from scipy.signal import welch

    series = ContinuousNoise(SLOW.noise(0), 3, "H1")
    values = np.concatenate([series.block(number) for number in range(4)])
    frequencies, power = welch(values, 256, nperseg=1024, average="mean")
    expected = SLOW.noise(0).psd_on_grid(1024)
    inside = (frequencies > 12) & (frequencies < 120)
    ratio = power[inside] / expected[inside]
    # 4 blocks of 448 s are 895 half-overlapping stretches of 4 s, some 600 independent ones: each
    # bin is right to 4 %, and the mean of 432 correlated bins to better than 0.5 %.
    assert np.abs(ratio.mean() - 1) < 0.005
    assert np.abs(ratio - 1).max() < 0.2
    assert 0.02 < ratio.std() < 0.06


def test_autocovariance_across_the_border_of_blocks_is_that_of_the_noise() -> None:
    """The products of samples on both sides of a border, over many borders, against the theory."""
    noise = Observation(("H1",), 64, 4.0, 10.0, "aLIGOZeroDetHighPower").noise(0)
    borders, lags = 300, 24
    expected = autocovariance(noise, 1024, floor=0.0)
    covariance = np.zeros((2, lags, lags))
    series = ContinuousNoise(noise, "border")
    before = series.block(0)
    for number in range(1, borders + 1):
        after = series.block(number)
        covariance[0] += np.outer(before[-lags:], after[:lags]) / borders
        middle = after[5000 : 5000 + 2 * lags]  # the same within a block
        covariance[1] += np.outer(middle[:lags], middle[lags:]) / borders
        before = after
    lag = lags + np.arange(lags)[None, :] - np.arange(lags)[:, None]  # of after[j], before[i]
    for found in covariance:
        # A product of two correlated Gaussians has a standard deviation of at most sqrt(2) r_0.
        assert np.abs(found - expected[lag]).max() < 4.5 * np.sqrt(2 / borders) * expected[0]
        # All lags together fit far better than no correlation does.
        assert np.square(found - expected[lag]).sum() < 0.2 * np.square(expected[lag]).sum()


def test_blocks_join_as_one_convolution_of_the_same_white_noise() -> None:
    """Across a border the series equals the direct convolution to rounding: there is no seam."""
    series = ContinuousNoise(SLOW.noise(0), 9, "H1")
    half = series.piece_size
    size = (BLOCK_PIECES + 2) * half
    kernel = np.fft.irfft(colouring_filter(SLOW.noise(0)), size)
    kernel = np.concatenate([kernel[-half + 1 :], kernel[:half]])  # times -(half - 1) to half - 1
    pieces = range(BLOCK_PIECES - 2, BLOCK_PIECES + 2)
    white = np.concatenate([series.white_piece(number) for number in pieces])
    border = series.block_size
    joined = series.read(border - 20, 40)
    origin = (BLOCK_PIECES - 2) * half
    for offset, found in zip(range(border - 20, border + 20), joined, strict=True):
        part = white[offset - origin - half + 1 : offset - origin + half]
        assert found == pytest.approx(part @ kernel[::-1], abs=1e-9 * np.abs(joined).max())


def test_any_part_is_the_same_whatever_was_computed_before() -> None:
    whole = ContinuousNoise(SLOW.noise(0), 1, "L1").read(0, 250_000)
    part = ContinuousNoise(SLOW.noise(0), 1, "L1").read(110_000, 10_000)  # across a border
    np.testing.assert_array_equal(part, whole[110_000:120_000])


def test_other_counters_give_independent_noise() -> None:
    first, second = (ContinuousNoise(SLOW.noise(0), 1, name).block(0) for name in ("H1", "L1"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert not np.array_equal(first, second)
