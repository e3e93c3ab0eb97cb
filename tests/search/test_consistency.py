"""The chi-squared test over bands: its law in noise, and what it says of signals and glitches."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.signal
import scipy.stats
import torch
from competition import window_of
from small_bank import chirp_network, white_stretch

from models1d import MatchedFilter1d
from models1d.template_components import orthonormalised
from runtime.errors import UserError
from search.bank_statistics import LikelihoodRatio
from search.consistency import (
    BANDS,
    Consistency,
    band_edges,
    band_products,
    consistency_of_peaks,
    fitted_quadratures,
    measure_consistency,
)
from search.filter_bank_scorer import FilterBankScorer
from search.peaks import Peaks

RATE = 1024
LENGTH, BEFORE = 768, 704


def chirp(start: float, end: float, late: float = 0.0) -> np.ndarray:
    """Return a chirp of norm one from one frequency (Hz) to another, as two quadratures.

    Args:
        start: frequency at the beginning of the filter.
        end: frequency at the merger.
        late: samples by which it is later than the filter's merger.
    """
    t = (np.arange(LENGTH) - BEFORE - late) / RATE
    phase = (
        2
        * np.pi
        * scipy.integrate.cumulative_trapezoid(
            np.clip(start + (end - start) * (t - t[0]) ** 4 / t[0] ** 4, start, end), t, initial=0
        )
    )
    envelope = np.exp(-((np.minimum(t, 0) / 0.3) ** 2)) * np.exp(-np.maximum(t, 0) / 0.008)
    wave = scipy.signal.hilbert(envelope * np.cos(phase))
    rows = np.stack([wave.real, wave.imag])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


TEMPLATE = chirp(35, 230)


def strain_with(waveform: np.ndarray, snr: float, seed: int, phase: float = 0.7) -> np.ndarray:
    """Return white noise with a waveform of some SNR, its merger at sample 2000."""
    white = np.random.default_rng(seed).standard_normal(4096)
    part = slice(2000 - BEFORE, 2000 - BEFORE + LENGTH)
    white[part] += snr * (np.cos(phase) * waveform[0] + np.sin(phase) * waveform[1])
    return white


def test_bands_have_the_products_and_the_power_of_the_template() -> None:
    x = np.random.default_rng(0).standard_normal(LENGTH)
    products, shares = band_products(x, TEMPLATE, BANDS)
    assert products.shape == (9, 2, BANDS)
    np.testing.assert_allclose(products[4].sum(-1), TEMPLATE @ x)  # the shift of zero
    np.testing.assert_allclose(shares.sum(-1), 1)
    assert (abs(shares - 1 / BANDS) < 0.6 / BANDS).all()  # frequencies are 1.3 Hz apart
    moved, _ = band_products(np.roll(x, 1), TEMPLATE, BANDS)
    # Half a sample early of the one is half a sample late of the other.
    np.testing.assert_allclose(moved[8].sum(-1), products[0].sum(-1), atol=0.05)


def test_bands_have_equal_power() -> None:
    assert band_edges(np.ones(8), 4).tolist() == [0, 2, 4, 6]
    assert band_edges(np.array([4.0, 1, 1, 1, 1]), 2).tolist() == [0, 1]
    with pytest.raises(UserError, match="4 bands are too many"):
        band_edges(np.array([0.0, 9.0, 1.0]), 4)


def test_in_noise_chi_squared_has_its_law() -> None:
    """By Kolmogorov-Smirnov, with a signal of the very template and without any."""
    for snr in (0.0, 12.0):
        values = [
            measure_consistency(strain_with(TEMPLATE, snr, seed), 2000, 0, TEMPLATE, BEFORE)
            for seed in range(300)
        ]
        chi = np.array([value.chi_squared for value in values]) * (2 * BANDS - 2)
        assert scipy.stats.kstest(chi, scipy.stats.chi2(2 * BANDS - 2).cdf).pvalue > 0.01
    found = np.array([value.snr for value in values])
    assert found.mean() == pytest.approx(12.0, abs=0.3)


@pytest.mark.parametrize("late", [0.0, 0.25, 0.5])
def test_a_loud_signal_of_the_template_is_consistent(late: float) -> None:
    """At any phase and between samples, found within the reach, outside the middle of it."""
    white = strain_with(chirp(35, 230, late), 30.0, 1, phase=2.1)
    found = measure_consistency(white, 2007, 12, TEMPLATE, BEFORE)
    assert found.snr == pytest.approx(30, abs=2)
    assert found.chi_squared < 1.7
    assert found.sample == pytest.approx(2000 + late, abs=0.3)
    assert found.reweighted_snr > 0.9 * found.snr


def test_another_chirp_is_less_consistent() -> None:
    white = strain_with(chirp(40, 200), 30.0, 2)
    near = measure_consistency(white, 2000, 12, TEMPLATE, BEFORE)
    own = measure_consistency(white, 2000, 12, chirp(40, 200), BEFORE)
    assert own.chi_squared < 1.6 < near.chi_squared
    assert near.snr < own.snr


def test_a_blip_is_not_consistent() -> None:
    """A sine-Gaussian of SNR 25 and a few ms."""
    t = (np.arange(LENGTH) - BEFORE) / RATE
    envelope = np.exp(-((t / 0.004) ** 2) / 2)
    blip = np.stack(
        [envelope * np.cos(2 * np.pi * 120 * t), envelope * np.sin(2 * np.pi * 120 * t)]
    )
    blip /= np.linalg.norm(blip, axis=1, keepdims=True)
    found = measure_consistency(strain_with(blip, 25.0, 3), 2000, 250, TEMPLATE, BEFORE)
    assert found.snr > 8
    assert found.chi_squared > 5
    assert found.reweighted_snr < 0.5 * found.snr


def test_strain_that_ends_within_the_template() -> None:
    white = strain_with(TEMPLATE, 20.0, 4)[:2010]
    found = measure_consistency(white, 2000, 12, TEMPLATE, BEFORE)
    assert found.snr == pytest.approx(20, abs=3)
    silent = measure_consistency(white, 9000, 12, TEMPLATE, BEFORE)
    assert silent.snr == silent.chi_squared == 0


def test_reweighting() -> None:
    assert Consistency(10.0, 0.5, 0.0).reweighted_snr == 10
    assert Consistency(10.0, 1.0, 0.0).reweighted_snr == 10
    assert Consistency(10.0, 3.0, 0.0).reweighted_snr == pytest.approx(10 / 14 ** (1 / 6))


def two_template_network() -> MatchedFilter1d:
    """Return a bank of `TEMPLATE` and of another chirp, with their quadratures as its basis."""
    network = MatchedFilter1d(
        templates=2,
        basis=4,
        before=BEFORE / RATE,
        after=(LENGTH - BEFORE) / RATE,
        arrival=(0.75, 0.8),
        observation=window_of(2048, "H1", "L1"),
    )
    rows = np.concatenate([TEMPLATE, chirp(35, 120)])
    network.filters.copy_(torch.from_numpy(rows)[None])
    network.templates.copy_(torch.eye(4).reshape(1, 2, 2, 4))
    return network


def test_the_scorer_tests_peaks_in_the_strain_that_it_whitened() -> None:
    """A chirp in both detectors and a burst in one, whitened and decimated by the scorer."""
    network, rate = two_template_network(), 2 * RATE
    wave = scipy.signal.resample(TEMPLATE[0], 2 * LENGTH)
    wave /= np.linalg.norm(wave)
    rng = np.random.default_rng(8)
    strain = {name: rng.standard_normal(16 * rate) for name in ("H1", "L1")}
    for name, late in (("H1", 0), ("L1", 8)):
        first = 5 * rate + late - 2 * BEFORE
        strain[name][first : first + len(wave)] += 20 * wave
    strain["H1"][10 * rate : 10 * rate + 400] += 4 * rng.standard_normal(400)
    scorer = FilterBankScorer(
        [LikelihoodRatio(network, (0, 1))], window_of(2048, "H1", "L1"), decimate=2
    )
    scorer.prepare(white_stretch(strain, scorer.observation))
    times = 1000 + np.array([5.0, 10.0 + 180 / RATE])  # near the end of the burst
    found = scorer.chi_squared(times, np.zeros(2))
    assert found.shape == (2, 2)
    assert (found[0] < 1.8).all()
    assert found[1, 0] > 5
    assert found[1, 1] < 2
    scorer.prepare(white_stretch({"L1": strain["L1"]}, scorer.observation))
    alone = scorer.chi_squared(times, np.zeros(2))
    assert np.isnan(alone[:, 0]).all()
    np.testing.assert_allclose(alone[:, 1], found[:, 1])


def test_templates_with_too_few_frequencies_are_left_out() -> None:
    network, white = chirp_network(), {name: np.zeros(4096) for name in ("H1", "L1")}
    peaks = Peaks.of_scores(np.array([102.0]), np.ones(1), 2)
    peaks.template[:] = 0
    chi_squared, _ = consistency_of_peaks(peaks, white, network, ("H1", "L1"), 100.0, 512)
    assert np.isnan(chi_squared).all()


def test_peaks_of_a_bank_are_tested_in_every_detector() -> None:
    """A chirp in both detectors, 5 ms apart, and a burst in one; a time slide moves the strain."""
    network = two_template_network()
    white = {"H1": strain_with(TEMPLATE, 15.0, 5), "L1": np.roll(strain_with(TEMPLATE, 12.0, 6), 5)}
    white["H1"][3000:3200] += 4 * np.random.default_rng(7).standard_normal(200)
    peaks = Peaks.of_scores(np.array([100 + 2000 / RATE, 100 + 3180 / RATE, 101.0]), np.ones(3), 2)
    peaks.template[:2] = 0
    settings = (network, ("H1", "L1"), 100.0, RATE)
    chi_squared, snr = consistency_of_peaks(peaks, white, *settings)
    assert chi_squared.shape == snr.shape == (3, 2)
    assert (chi_squared[0] < 1.8).all()
    assert snr[0] == pytest.approx([15, 12], abs=2.5)
    assert chi_squared[1, 0] > 5
    assert np.isnan(chi_squared[2]).all()
    slid = {"H1": white["H1"], "L1": np.roll(white["L1"], RATE)}  # L1 shows what came 1 s earlier
    again, _ = consistency_of_peaks(peaks, slid, *settings, shifts={"L1": 1.0})
    np.testing.assert_allclose(again[:2], chi_squared[:2])
    alone, _ = consistency_of_peaks(peaks, {"L1": white["L1"]}, *settings)
    assert np.isnan(alone[:, 0]).all()
    np.testing.assert_allclose(alone[:2, 1], chi_squared[:2, 1])


def test_the_fit_of_several_components_is_consistent_where_the_first_alone_is_not() -> None:
    """A signal of two chirps at once: tested with what both components fit, in noise."""
    rows = orthonormalised(torch.from_numpy(np.concatenate([TEMPLATE, chirp(35, 120)]))).numpy()
    # of norm one, as a signal of the template and of the other one
    p, q = 0.8 * rows[0] + 0.6 * rows[2], 0.8 * rows[1] + 0.6 * rows[3]
    white = strain_with(np.stack([p, q]), 50.0, 3)
    place = (2000, 8)
    fitted = fitted_quadratures(white, *place, rows, BEFORE)
    np.testing.assert_allclose(fitted @ fitted.T, np.eye(2), atol=0.02)
    # of both components, whatever the phase
    assert np.hypot(fitted[0] @ p, fitted[0] @ q) > 0.98
    found = measure_consistency(white, *place, fitted, BEFORE)
    first = measure_consistency(white, *place, rows[:2], BEFORE)
    assert found.snr > 1.15 * first.snr
    assert found.chi_squared < 2 < first.chi_squared
