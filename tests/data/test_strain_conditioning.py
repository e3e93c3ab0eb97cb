"""Conditioning of real strain and its PSD, against scipy and against known noise."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from real_strain import START, coloured_noise
from scipy import signal

from data.recording import Recording, StrainInMemory
from data.strain_conditioning import (
    condition_piece,
    condition_strain,
    count_spoilt_samples,
    find_equal_samples,
    fold_spectrum,
    high_pass_taps,
    measure_psd,
    median_bias,
    resampling_taps,
    welch_samples,
)
from physics.observation import COMPETITION
from runtime.errors import UserError
from search.conditioning import make_design_noise

SAMPLE_RATE = COMPETITION.sample_rate


def held(values: np.ndarray, rate: int = 4096) -> Recording:
    return Recording("H1", [StrainInMemory("held", values, rate, START)])


@pytest.mark.parametrize("rate", [2048, 4096, 16384, 20000])
def test_resampling_keeps_the_band_and_its_phase(rate):
    time = np.arange(16 * rate) / rate
    fine = np.arange(16 * SAMPLE_RATE) / SAMPLE_RATE
    inner = slice(2 * SAMPLE_RATE, -2 * SAMPLE_RATE)
    for frequency in (20.0, 150.0, 950.0):
        x = condition_piece(np.sin(2 * np.pi * frequency * time), rate)
        expected = np.sin(2 * np.pi * frequency * fine)
        # both filters ripple by 1e-4 (80 dB) at most
        assert np.abs(x[inner] - expected[inner]).max() < 3e-4
    for frequency in (0.0, 1.0, 7.0):
        x = condition_piece(1e5 * np.cos(2 * np.pi * frequency * time), rate)
        assert np.abs(x[inner]).max() < 1  # 120 dB, less a little at the edge of the stop-band


@pytest.mark.parametrize("rate", [2048, 4096, 6144, 16384, 20000])
def test_the_spectrum_is_filtered_as_scipy_filters_in_time(rate):
    x = coloured_noise("H1", 12, rate)[: 11 * rate] / 1e-21
    common = np.gcd(rate, SAMPLE_RATE)
    expected = x
    if rate != SAMPLE_RATE:
        taps = resampling_taps(rate, SAMPLE_RATE)
        expected = signal.resample_poly(x, SAMPLE_RATE // common, rate // common, window=taps)
    taps = high_pass_taps(SAMPLE_RATE, COMPETITION.min_frequency)
    expected = signal.oaconvolve(expected, taps, mode="same")
    inner = slice(2 * SAMPLE_RATE, -2 * SAMPLE_RATE)
    error = np.abs(condition_piece(x, rate)[inner] - expected[inner]).max()
    assert error < 1e-8 * expected[inner].std()


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_a_folded_spectrum_is_that_of_every_nth_sample(rng, factor):
    x = rng.standard_normal(24 * factor)
    folded = fold_spectrum(np.fft.rfft(x), factor)
    assert np.allclose(folded, np.fft.rfft(x[::factor]))


def test_runs_of_equal_samples_are_found():
    x = np.arange(40.0)
    x[3:7] = 3  # four: by chance
    x[10:15] = 0
    x[36:] = 36
    x[30:36] = np.nan
    found = find_equal_samples(x)
    assert np.flatnonzero(found).tolist() == [10, 11, 12, 13, 14]
    assert np.flatnonzero(find_equal_samples(x, 4)).tolist() == [
        3,
        4,
        5,
        6,
        *range(10, 15),
        *range(36, 40),
    ]
    assert find_equal_samples(np.zeros(9)).all()
    assert not find_equal_samples(np.zeros(0)).any()


@pytest.mark.parametrize("fault", ["zeros", "constant", "saturation"])
def test_runs_of_equal_samples_are_gaps(fault):
    strain = coloured_noise("H1", 40)
    broken = strain.copy()
    part = slice(18 * 4096, 18 * 4096 + 2048)
    if fault == "saturation":  # all peaks of half a second are cut off
        broken[part] = strain[part].clip(-0.5 * strain[part].std(), 0.5 * strain[part].std())
    else:
        broken[part] = 0 if fault == "zeros" else 3e-19
    good = condition_strain(held(strain), START, 40 * SAMPLE_RATE)
    seen = condition_strain(held(broken), START, 40 * SAMPLE_RATE)
    missing = np.isnan(seen) & np.isfinite(good)
    reach = count_spoilt_samples(4096) / SAMPLE_RATE
    assert missing[18 * SAMPLE_RATE + 100 : int(18.5 * SAMPLE_RATE) - 100].all()
    assert missing.sum() / SAMPLE_RATE == pytest.approx(0.5 + 2 * reach, abs=0.1)
    rest = np.isfinite(seen)
    assert np.allclose(seen[rest], good[rest], atol=1e-5 * good[rest].std())


def test_what_lies_above_is_not_folded_over():
    time = np.arange(16 * 4096) / 4096
    x = condition_piece(np.sin(2 * np.pi * 1300 * time), 4096)
    assert np.abs(x[4096:-4096]).max() < 3e-4


@pytest.mark.parametrize("rate", [2048, 4096])
def test_a_gap_spoils_its_reach_and_no_more(rng, rate):
    x = rng.standard_normal(16 * rate)
    broken = x.copy()
    broken[8 * rate : 8 * rate + 100] = np.nan
    good, seen = condition_piece(x, rate), condition_piece(broken, rate)
    missing = np.flatnonzero(np.isnan(seen))
    low = 8 * SAMPLE_RATE - count_spoilt_samples(rate)
    high = 8 * SAMPLE_RATE + 100 * SAMPLE_RATE // rate + count_spoilt_samples(rate)
    assert low <= missing[0]
    assert missing[-1] <= high
    rest = np.isfinite(seen)
    # filters of finite length: outside, what was in the gap does not matter
    assert np.allclose(seen[rest], good[rest], rtol=0, atol=1e-9)


def test_pieces_join_without_a_seam():
    strain = coloured_noise("H1", 140)
    whole = condition_strain(held(strain), START + 3, 130 * SAMPLE_RATE)
    shifted = condition_strain(held(strain), START + 50, 60 * SAMPLE_RATE)
    assert np.isfinite(whole).all()
    part = whole[47 * SAMPLE_RATE : 107 * SAMPLE_RATE]
    assert np.abs(part - shifted).max() < 1e-4 * whole.std()


def test_the_ends_are_missing():
    x = condition_strain(held(coloured_noise("H1", 20)), START, 20 * SAMPLE_RATE)
    edge = count_spoilt_samples(4096)
    assert np.isnan(x[:edge]).all()
    assert np.isfinite(x[edge:-edge]).all()


def test_median_bias():
    # B12 against the mean of the median of many draws
    draws = np.random.default_rng(0).exponential(size=(200_000, 15))
    assert median_bias(15) == pytest.approx(np.median(draws, axis=1).mean(), rel=3e-3)


def test_psd_is_scipys():
    x = make_design_noise("L1", 256 * SAMPLE_RATE, np.random.default_rng(0))
    frequencies, expected = signal.welch(
        x.astype(np.float64),
        SAMPLE_RATE,
        nperseg=welch_samples(),
        average="median",
        detrend="constant",
    )
    # At the Nyquist frequency ours counts twice, as those of `noise` do.
    band = (frequencies >= 12) & (frequencies < SAMPLE_RATE / 2)
    assert np.allclose(measure_psd(x)[band], expected[band], rtol=1e-4)


def test_psd_does_not_feel_a_loud_event_and_leaves_gaps_out(rng):
    x = make_design_noise("L1", 256 * SAMPLE_RATE, rng)
    loud = x.copy()
    loud[100 * SAMPLE_RATE : 100 * SAMPLE_RATE + 400] *= 100
    loud[50 * SAMPLE_RATE] = np.nan
    assert np.median(measure_psd(loud) / measure_psd(x)) == pytest.approx(1, abs=0.03)


def test_too_little_strain_has_no_psd(rng):
    x = rng.standard_normal(18 * SAMPLE_RATE).astype(np.float32)
    assert measure_psd(x) is not None
    x[9 * SAMPLE_RATE] = np.nan
    assert measure_psd(x) is None


def test_memory_does_not_grow_with_the_length():
    class Endless:
        name, rate, start, size, calibration = "endless", 16384, START, 2**40, None

        def read(self, first: int, last: int) -> np.ndarray:
            return np.arange(first, last) % 7 * 1e-21

    recording = Recording("H1", [Endless()])

    def peak(seconds: int) -> int:
        tracemalloc.start()
        condition_strain(recording, START + 100, seconds * SAMPLE_RATE)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(64)  # what is made once
    short, long = peak(128), peak(512)
    assert long - short < 1.1 * 4 * 384 * SAMPLE_RATE  # the result itself, float32


def test_strain_that_is_whitened_or_scaled_already_is_refused(rng):
    strain = rng.standard_normal(10 * 4096)
    strain[:4096] = np.nan
    with pytest.raises(
        UserError, match=r"^held: strain of H1 with a median magnitude of 0\.\d+ at"
    ):
        condition_strain(held(strain), START, 9 * SAMPLE_RATE)
    strain *= 1e-20
    strain[5000:5100] = 1.0 + np.arange(100)  # a glitch is no reason
    condition_strain(held(strain), START, 9 * SAMPLE_RATE)
    condition_strain(held(strain * np.nan), START, 9 * SAMPLE_RATE)
