"""Filled gaps: the expectation of noise, and whitened strain that does not ring beside them."""

from __future__ import annotations

import numpy as np
import pytest

from data.gap_filling import fill_gaps, fill_hole, find_runs
from data.tracked_psds import TrackedPSD, whiten_by_psds
from data.whitening_filter import whitening_taps
from physics.observation import COMPETITION

RATE, N = COMPETITION.sample_rate, COMPETITION.num_samples
SECONDS, START = 24, 1e9


def make_power() -> np.ndarray:
    """Return a PSD as of real strain: steep at low frequencies, with lines 300 times as high."""
    frequencies = np.fft.rfftfreq(2 * N, 1 / RATE)
    power = 1e-4 * (1 + (60 / np.maximum(frequencies, 10)) ** 8)
    for line in (35.7, 60, 120, 331.9, 501):
        power *= 1 + 1e5 / (1 + ((frequencies - line) / 0.2) ** 4)
    return power


@pytest.fixture(scope="module")
def power() -> np.ndarray:
    return make_power()


@pytest.fixture(scope="module")
def strain(power) -> np.ndarray:
    """Return noise of that PSD, (samples,) float64."""
    rng, size = np.random.default_rng(0), SECONDS * RATE
    fine = np.interp(np.fft.rfftfreq(size, 1 / RATE), np.fft.rfftfreq(2 * N, 1 / RATE), power)
    parts = rng.standard_normal((2, len(fine)))
    return np.fft.irfft((parts[0] + 1j * parts[1]) * np.sqrt(fine * RATE * size / 4), size)


def make_usable(*gaps: tuple[float, float]) -> np.ndarray:
    """Return which samples are usable, but for gaps from some second to another."""
    usable = np.ones(SECONDS * RATE, bool)
    for begin, end in gaps:
        usable[round(max(begin, 0) * RATE) : round(end * RATE)] = False
    return usable


@pytest.mark.parametrize("gap", [(10, 10.5), (9, 12), (8, 18), (0, 3), (22, 24)])
def test_whitened_strain_beside_a_gap_is_as_without_it(strain, power, gap) -> None:
    usable = make_usable(gap)
    psds = [TrackedPSD(START, START + SECONDS, power)]
    zeros, filled = strain * usable, strain * usable
    assert fill_gaps(filled, usable, START, psds, RATE) == [tuple(round(t * RATE) for t in gap)]
    assert (filled[usable] == strain[usable]).all()
    expected = whiten_by_psds(strain, START, psds, RATE)
    beside = usable.copy()
    beside[:N] = beside[-N:] = False  # there even whole strain breaks off
    near = beside & ~make_usable((gap[0] - 1, gap[1] + 1))
    error = np.sqrt(((whiten_by_psds(filled, START, psds, RATE) - expected)[near] ** 2).mean())
    ringing = np.sqrt(((whiten_by_psds(zeros, START, psds, RATE) - expected)[near] ** 2).mean())
    assert error < 0.35
    assert ringing > 10 * error
    # nothing in it that could be taken for a signal
    assert np.abs(whiten_by_psds(filled, START, psds, RATE)[beside]).max() < 5.5


def test_the_filling_has_the_least_whitened_power(strain, power, rng) -> None:
    hole = (10 * RATE, 10 * RATE + 300)
    psds = [TrackedPSD(START, START + SECONDS, power)]

    def whitened_power(x: np.ndarray) -> float:
        return float((whiten_by_psds(x, START, psds, RATE).astype(np.float64) ** 2).sum())

    filled = strain.copy()
    filled[slice(*hole)] = 0
    fill_hole(filled, hole, power, RATE)
    least = whitened_power(filled)
    for _ in range(5):
        other = filled.copy()
        other[slice(*hole)] += 0.01 * rng.standard_normal(300)
        assert whitened_power(other) > least


def test_the_filling_is_the_mean_of_gaussian_noise(rng) -> None:
    """Against the formula with whole matrices, for a short window."""
    n, size = 16, 200
    power = 1 + 20 * np.exp(-((np.arange(n + 1) - 4.0) ** 2))
    taps = whitening_taps(power, 32)
    whitening = np.zeros((size + 2 * n, size))  # (whitened, strain), with zeros beyond the ends
    for column in range(size):
        whitening[column : column + 2 * n, column] = taps
    inverse = whitening.T @ whitening  # of the covariance
    x = rng.standard_normal(size)
    hole = np.arange(80, 97)
    outside = np.setdiff1d(np.arange(size), hole)
    expected = -np.linalg.solve(
        inverse[np.ix_(hole, hole)], inverse[np.ix_(hole, outside)] @ x[outside]
    )
    x[hole] = 0
    fill_hole(x, (80, 97), power, 32)
    assert np.allclose(x[hole], expected, rtol=0, atol=1e-9)


def test_gaps_of_a_part_alone_are_filled(strain, power) -> None:
    usable = make_usable((5, 5.2), (15, 15.2))
    psds = [TrackedPSD(START, START + 12, power), TrackedPSD(START + 12, START + 24, power)]
    x = strain * usable
    filled = fill_gaps(x, usable, START, psds, RATE, (14 * RATE, 16 * RATE))
    assert filled == [(15 * RATE, round(15.2 * RATE))]
    assert (x[5 * RATE : round(5.2 * RATE)] == 0).all()
    assert (x[15 * RATE : round(15.2 * RATE)] != 0).all()
    nothing = np.zeros(SECONDS * RATE, bool)
    x[:] = 1
    fill_gaps(x, nothing, START, psds, RATE)
    assert (x == 0).all()


def test_runs_are_found() -> None:
    assert find_runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert find_runs(np.zeros(3, bool)) == []
