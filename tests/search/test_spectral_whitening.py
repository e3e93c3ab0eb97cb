"""Whitened stretches beside windows whitened by C^(-1/2)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from real_strain import START, coloured_noise
from small_bank import PAIR, white_stretch

from data.recording import Recording, StrainInMemory
from data.strain_conditioning import condition_strain, measure_psd
from data.tracked_psds import TrackedPSD
from physics.observation import COMPETITION
from search.conditioning import make_design_noise
from search.spectral_whitening import EDGE, robust_scale, whiten_series, widen
from transforms import Whiten

N, RATE = PAIR.num_samples, PAIR.sample_rate
SECONDS = 40


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return make_design_noise("H1", SECONDS * RATE, np.random.default_rng(0), PAIR)


def tracked(*powers: np.ndarray) -> list[TrackedPSD]:
    edges = np.linspace(0, SECONDS, len(powers) + 1)
    return [TrackedPSD(*pair) for pair in zip(edges[:-1], edges[1:], powers, strict=True)]


@pytest.mark.parametrize("decimate", [1, 2])
def test_windows_come_out_as_from_the_matrix(noise: np.ndarray, decimate: int) -> None:
    power = measure_psd(noise, PAIR)
    usable = np.ones(len(noise), bool)
    found = whiten_series(noise, usable, tracked(power), 0.0, PAIR, decimate)
    # Noise has nothing below 20 Hz; decimation keeps 24 to 256 Hz. What is kept has unit power.
    expected = np.sqrt(1 - {1: 20 / 512, 2: 24 / 256}[decimate])
    assert found.values[found.usable].std() == pytest.approx(expected, abs=0.01)
    starts = np.arange(2, 60) * N // 2
    windows = np.stack([noise[start : start + N] for start in starts])
    exact = Whiten(psds=[power], unit=1.0, decimate=decimate, observation=PAIR)(
        torch.from_numpy(windows)[:, None]
    )[:, 0].numpy()
    ours = np.stack([found.values[s // decimate : (s + N) // decimate] for s in starts])
    scale = (ours * exact).sum() / np.square(exact).sum()
    error = np.sqrt(np.square(ours / scale - exact).reshape(len(starts), 32, -1).mean((0, 2)))
    assert error[12:20].max() < 0.06, error  # a window of 1 s is short for noise from 20 Hz on
    assert error[1:-1].max() < 0.15, error


def test_recorded_strain_comes_out_white() -> None:
    recording = Recording("H1", [StrainInMemory("held", coloured_noise("H1", 132), 4096, START)])
    rate, seconds = COMPETITION.sample_rate, 128
    x = condition_strain(recording, START + 2, seconds * rate)
    psd = TrackedPSD(0.0, float(seconds), measure_psd(x, COMPETITION))
    found = whiten_series(x, np.ones(len(x), bool), [psd], 0.0, COMPETITION, 1)
    white = found.values.reshape(-1, COMPETITION.num_samples)
    # 64 windows; the PSD's own scatter is 10 %
    spectrum = np.abs(np.fft.rfft(white)) ** 2 / COMPETITION.num_samples
    for low, high in ((15, 30), (30, 100), (100, 400), (400, 1000)):
        assert spectrum[:, 2 * low : 2 * high].mean() == pytest.approx(1, abs=0.12)
    assert spectrum[:, 2 * 12 : 2 * 1000].mean() == pytest.approx(1, abs=0.03)
    assert spectrum[:, : 2 * 6].mean() < 0.05  # as in training: nothing below 10 Hz


def test_each_psd_whitens_its_own_time(noise: np.ndarray) -> None:
    power = measure_psd(noise, PAIR)
    half = len(noise) // 2
    louder = np.concatenate([noise[:half], 3 * noise[half:]]).astype(np.float32)
    usable = np.ones(len(noise), bool)
    found = whiten_series(louder, usable, tracked(power, 9 * power), 0.0, PAIR, 2)
    expected = whiten_series(noise, usable, tracked(power, power), 0.0, PAIR, 2)
    away = N  # the filter looks a window to either side
    for part in (slice(0, half // 2 - away), slice(half // 2 + away, None)):
        np.testing.assert_allclose(found.values[part], expected.values[part], atol=0.02)


def test_a_psd_that_is_wrong_by_a_factor_is_scaled(noise: np.ndarray) -> None:
    usable = np.ones(len(noise), bool)
    one, two = (
        whiten_series(noise, usable, tracked(factor * measure_psd(noise, PAIR)), 0.0, PAIR, 2)
        for factor in (1, 4)
    )
    np.testing.assert_allclose(one.values, two.values, atol=1e-5)


def test_lines_do_not_ring_beside_a_gap(noise: np.ndarray) -> None:
    times = np.arange(len(noise)) / RATE
    x = noise + (5 * np.sin(2 * np.pi * 60 * times)).astype(np.float32)
    power = measure_psd(x, PAIR)
    whole = whiten_series(x, np.ones(len(x), bool), tracked(power), 0.0, PAIR, 2)
    gap = slice(20 * RATE, 20 * RATE + 300)
    holed, usable = x.copy(), np.ones(len(x), bool)
    holed[gap], usable[gap] = 0, False
    found = whiten_series(holed, usable, tracked(power), 0.0, PAIR, 2)
    # Not used are the gap and a 32nd of a window beside it.
    edge = round(EDGE * N / 2)
    unused = slice(gap.start // 2 - edge, gap.stop // 2 + edge)
    assert not found.usable[unused].any()
    inner = found.usable[edge:-edge]
    assert inner.sum() == len(inner) - (unused.stop - unused.start)
    change = np.abs(found.values - whole.values)[found.usable]
    assert change.max() < 0.6
    assert np.sqrt(np.square(change).mean()) < 0.02
    # with zeros in the gap it would be
    zeros = whiten_series(holed, np.ones(len(x), bool), tracked(power), 0.0, PAIR, 2)
    assert np.abs(zeros.values - whole.values)[found.usable].max() > 5


def test_a_line_does_not_ring_at_the_ends_of_a_stretch(noise: np.ndarray) -> None:
    times = np.arange(len(noise)) / RATE
    x = noise + (5 * np.sin(2 * np.pi * 60 * times)).astype(np.float32)
    psds, usable = tracked(measure_psd(x, PAIR)), np.ones(len(x), bool)
    found = whiten_series(x, usable, psds, 0.0, PAIR, 2)
    zeros = np.zeros(N, np.float32)
    silent = np.concatenate([zeros, x, zeros])
    steps = whiten_series(silent, np.ones(len(silent), bool), psds, -1.0, PAIR, 2)
    ends = np.r_[0 : N // 2, -N // 2 : 0]
    assert np.abs(found.values[ends]).max() < 10
    assert np.abs(steps.values[N // 2 : -N // 2][ends]).max() > 25


def test_nothing_usable_gives_nothing() -> None:
    stretch = white_stretch({"H1": np.zeros(5000)})
    found = whiten_series(
        stretch.strain["H1"], np.zeros(5000, bool), stretch.psds["H1"], 1000.0, PAIR, 2
    )
    assert not found.usable.any()
    assert not found.values.any()


def test_widening() -> None:
    mask = np.zeros(12, bool)
    mask[6] = True
    assert np.flatnonzero(widen(mask, 2)).tolist() == [0, 1, 4, 5, 6, 7, 8, 10, 11]


def test_the_scale_of_noise_beside_loud_events() -> None:
    values = 3 * np.random.default_rng(0).standard_normal(100_000)
    assert robust_scale(values) == pytest.approx(3, rel=0.006)
    values[:200] += 1000
    assert robust_scale(values) == pytest.approx(3, rel=0.008)
    assert robust_scale(np.zeros(5)) == robust_scale(np.empty(0)) == 1.0
