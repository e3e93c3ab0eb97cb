"""The whitening filter beside the PSD that it is made of."""

from __future__ import annotations

import numpy as np
import pytest

from signal_transforms.spectral_whitening import decimation_delay, gain_of_taps, whitening_taps

N, RATE = 256, 512.0


def smooth_psd() -> np.ndarray:
    return 2 / RATE * (1 + np.cos(np.linspace(0, np.pi, N + 1)) / 2) ** 2


@pytest.mark.parametrize("size", [2 * N, 5 * N, 200])
def test_the_gain_is_the_root_of_the_inverse_psd_at_any_length(size: int) -> None:
    gain = gain_of_taps(whitening_taps(smooth_psd(), RATE), size)
    frequencies = np.linspace(0, np.pi, size // 2 + 1)
    np.testing.assert_allclose(gain, 1 / (1 + np.cos(frequencies) / 2), rtol=2e-4)


def test_nothing_is_let_through_below_the_lowest_frequency() -> None:
    gain = gain_of_taps(whitening_taps(smooth_psd(), RATE, 2, lowest=50), 4 * N)
    frequencies = np.fft.rfftfreq(4 * N, 1 / RATE)
    assert abs(gain[frequencies < 47]).max() < 0.01
    kept = gain[(frequencies > 53) & (frequencies < RATE / 4)]
    assert kept.min() > 0.4


def test_decimated_samples_lie_in_the_middle_of_those_that_they_stand_for() -> None:
    times = np.arange(64)
    wave = np.cos(2 * np.pi * 5 * times / 64 + 0.3)
    spectrum = np.fft.rfft(wave)[:9] * decimation_delay(64, 4, 9)
    found = np.fft.irfft(spectrum, 16) / 4
    expected = np.cos(2 * np.pi * 5 * (np.arange(16) * 4 + 1.5) / 64 + 0.3)
    np.testing.assert_allclose(found, expected, atol=1e-12)
