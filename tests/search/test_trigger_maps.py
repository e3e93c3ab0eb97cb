"""Whitened strain around a trigger: unit variance, the right place, also at an end."""

from __future__ import annotations

import numpy as np
import pytest
from fake_scorer import TWO, make_stretch

from data.tracked_psds import TrackedPSD
from search.trigger_maps import power_at, tapered_ends, whiten_around, whiten_by_psd


def test_coloured_noise_becomes_white(rng: np.random.Generator) -> None:
    rate, window = 2048, 2.0
    frequencies = np.arange(4097) / 4
    power = 1e-3 * (1 + (frequencies / 100) ** 2)
    x = rng.standard_normal(16_384)
    grid = np.fft.rfftfreq(len(x), 1 / rate)
    psd = np.interp(grid, frequencies, power)
    coloured = np.fft.irfft(np.fft.rfft(x) * np.sqrt(psd * rate / 2), len(x))
    white = whiten_by_psd(coloured, power, window, rate)
    np.testing.assert_allclose(white, x, atol=1e-9)


@pytest.mark.parametrize("at", [20.0, 0.2, 39.9])
def test_strain_around_a_time(rng: np.random.Generator, at: float) -> None:
    strain = {name: rng.standard_normal(40 * 2048).astype(np.float32) for name in ("H1", "L1")}
    for values in strain.values():
        values[round(at * 2048)] += 50
    stretch = make_stretch(strain, 1e9)
    flat = np.full(4097, 2 / 2048)  # of white noise of unit variance
    stretch.psds = {name: [TrackedPSD(1e9, 1e9 + 40, flat)] for name in strain}
    found = whiten_around(stretch, 1e9 + at)
    for name in ("H1", "L1"):
        assert len(found.strain[name]) == TWO.num_samples
        peak = np.abs(found.strain[name]).argmax() / 2048
        assert found.start + peak == pytest.approx(1e9 + at, abs=1e-3)
        assert np.std(np.delete(found.strain[name], round(peak * 2048))) < 1.1


def test_the_psd_of_the_time() -> None:
    psds = [TrackedPSD(0.0, 10.0, np.ones(3)), TrackedPSD(10.0, 20.0, np.full(3, 2.0))]
    assert [power_at(psds, time)[0] for time in (-5.0, 3.0, 15.0, 99.0)] == [1, 1, 2, 2]


def test_ends_are_tapered() -> None:
    window = tapered_ends(100, 10)
    assert window[10:90].tolist() == [1.0] * 80
    assert np.all(np.diff(window[:10]) > 0)
    np.testing.assert_array_equal(window, window[::-1])
    assert tapered_ends(10, 10).tolist() == [1.0] * 10
