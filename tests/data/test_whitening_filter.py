"""The whitening filter: what it does to noise of a known PSD, and how far it reaches."""

from __future__ import annotations

import numpy as np
import pytest

from data.whitening_filter import whiten_periodic, whitening_taps
from physics.observation import COMPETITION
from search.conditioning import make_design_noise, noise_of

RATE, N = COMPETITION.sample_rate, COMPETITION.num_samples


@pytest.fixture(scope="module")
def power() -> np.ndarray:
    """Return the PSD of Hanford's design, (n + 1,)."""
    return noise_of("H1").psd_on_grid(2 * N, floor=1.0)


def test_noise_becomes_white(power) -> None:
    x = make_design_noise("H1", 128 * RATE, np.random.default_rng(0))
    white = whiten_periodic(x, power, RATE)
    assert white.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(white[N:-N])) ** 2 / len(white[N:-N])
    frequencies = np.fft.rfftfreq(len(white[N:-N]), 1 / RATE)
    for low, high in ((12, 20), (20, 60), (60, 200), (200, 1000)):
        band = (frequencies > low) & (frequencies < high)
        # The filter smooths the inverse root of a PSD that is steep at 12 Hz.
        assert spectrum[band].mean() == pytest.approx(1, abs=0.05)


def test_the_filter_is_even_and_reaches_one_window(power) -> None:
    taps = whitening_taps(power, RATE)
    assert taps.shape == (2 * N,)
    assert taps[0] == 0
    assert np.allclose(taps[1:], taps[:0:-1], rtol=0, atol=1e-12 * taps.max())
    x = np.zeros(8 * N)
    x[4 * N] = 1
    touched = np.flatnonzero(np.abs(whiten_periodic(x, power, RATE)) > 1e-12)
    assert touched[0] > 4 * N - N
    assert touched[-1] < 4 * N + N
    # periodic: what leaves at one end comes in at the other
    shifted = whiten_periodic(np.roll(x, 5 * N), power, RATE)
    assert np.allclose(shifted, np.roll(whiten_periodic(x, power, RATE), 5 * N), atol=1e-12)
