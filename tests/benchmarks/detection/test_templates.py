"""Templates and matched filters against plain loops and exact whitening."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from competition import SAMPLES
from detection_examples import (
    HEAVY,
    HEAVY_IN_VOLUME,
    ONE_DETECTOR,
    TWO_DETECTORS,
    quadratures,
    shifted,
)

from benchmarks.detection.likelihood import interpolation_reach
from benchmarks.detection.templates import (
    MatchedFilter,
    TemplateBank,
    aligned_parameters,
    arrival_bounds,
    largest_delays,
    network_power,
    sliding_max,
    template_settings,
)
from physics.bank_settings import COMPETITION_SERIES
from physics.noise import NoiseGenerator, whitening_matrix
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION, PARAMETERS
from physics.sites import longest_delay

STRETCH = COMPETITION_SERIES.stretch

pytest.importorskip("lalsimulation")


def test_templates_are_face_on_and_aligned() -> None:
    parameters = aligned_parameters(template_settings(50))
    column = {name: parameters[:, i] for i, name in enumerate(PARAMETERS)}
    assert set(np.unique(column["tilt_1"])) == {0, np.pi}
    assert (column["theta_jn"] == 0).all()
    assert (column["a_1"] >= 0).all()
    assert column["a_1"].max() < 0.99
    plus, cross = quadratures(0)
    hilbert = np.fft.irfft(-1j * np.fft.rfft(plus), STRETCH)
    overlap = hilbert @ cross / np.linalg.norm(hilbert) / np.linalg.norm(cross)
    assert abs(overlap) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("detector", [0, 2])
@pytest.mark.parametrize("arrival", [1.47, 1.5, 1.654296875, 1.83])
def test_filters_are_products_with_whitened_templates(bank, holdout, detector, arrival) -> None:
    """The squared SNR is that of the orthonormalised whitened quadratures, within one percent."""
    time = int(np.abs(bank.times - arrival).argmin())
    series = bank.snr_series(bank.spectra_of(holdout.batch(0, 8)), slice(None))
    ours = series[:, detector, :, time].abs().square().numpy()
    matrix = whitening_matrix(COMPETITION.noise(detector), SAMPLES).astype(float)
    data = holdout.strain[:8, detector].astype(float) / 1e-21 @ matrix  # (rows, 4096)
    for template in range(2):
        white = shifted(quadratures(template), bank.times[time]) @ matrix
        basis, _ = np.linalg.qr(white.T)
        expected = np.square(data @ basis).sum(1)
        np.testing.assert_allclose(ours[:, template], expected, rtol=0.02, atol=0.05)
        # and of data that is the template itself, of SNR 10
        strain = np.zeros((1, 3, COMPETITION.num_samples))
        own = shifted(quadratures(template), bank.times[time])[0]
        strain[0, detector] = own * (10 / np.linalg.norm(white[0]) * 1e-21)
        found = bank.snr_series(bank.spectra_of(torch.tensor(strain).float()), slice(None))
        assert float(found[0, detector, template, time].abs()) == pytest.approx(10, rel=0.01)


def test_noise_has_unit_variance_in_either_quadrature(bank) -> None:
    strain = NoiseGenerator().sample(64, torch.Generator().manual_seed(1))
    series = bank.snr_series(bank.spectra_of(strain), slice(None))
    for part in (series.real, series.imag):
        # 64 samples, each of about 20 independent times
        np.testing.assert_allclose(part.var((0, 2, 3)).numpy(), 1, atol=0.12)


def test_every_second_sample_is_the_same_filter(bank, coarse, holdout) -> None:
    strain = holdout.batch(0, 4)
    fine = bank.snr_series(bank.spectra_of(strain), slice(None))
    half = coarse.snr_series(coarse.spectra_of(strain), slice(None))
    both, places, others = np.intersect1d(bank.times, coarse.times, return_indices=True)
    assert len(both) >= len(coarse.times) - 1
    torch.testing.assert_close(half[..., others], fine[..., places], rtol=1e-3, atol=1e-3)
    inner = bank.times[bank.inner]
    earliest, latest = arrival_bounds(COMPETITION, COMPETITION_POPULATION)
    assert inner[0] == pytest.approx(earliest, abs=1e-3)
    assert inner[-1] == pytest.approx(latest, abs=1e-3)


@pytest.mark.parametrize("half", [0, 1, 2, 3, 7, 21, 55])
def test_sliding_max_is_that_of_every_window(half, rng) -> None:
    values = rng.normal(size=(2, 200))
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1, axis=-1)
    np.testing.assert_array_equal(
        sliding_max(torch.from_numpy(values), half).numpy(), windows.max(-1)
    )


def test_matched_filter_scores_are_those_of_a_plain_loop(bank, holdout) -> None:
    spectra = bank.spectra_of(holdout.batch(0, 3))
    found = MatchedFilter(2).detection_statistics(bank, spectra).numpy()
    power = bank.snr_series(spectra, slice(None)).abs().square().double().numpy()
    start, stop = bank.inner.start, bank.inner.stop
    for row in range(3):
        total = np.empty((2, stop - start))
        for time in range(start, stop):
            h1, l1, v1 = power[row]
            near, far = slice(time - 21, time + 22), slice(time - 55, time + 56)
            total[:, time - start] = h1[:, time] + l1[:, near].max(1) + v1[:, far].max(1)
        assert found[0, row] == pytest.approx(math.sqrt(total.max()), rel=1e-5)
        assert found[1, row] == pytest.approx(np.log(np.exp(total / 2).mean()), abs=1e-4)


def test_the_competitions_times_and_delays_are_those_of_the_record(bank, coarse) -> None:
    """The recorded ceilings were computed with these numbers of samples."""
    assert (bank.inner, bank.lags) == (slice(64, 802), slice(4227, 5093))
    assert (coarse.inner, coarse.lags) == (slice(32, 402), slice(2113, 2547))
    assert (bank.halves, coarse.halves) == ((0, 21, 55), (0, 10, 27))
    assert interpolation_reach(COMPETITION) == (0, 13, 30)
    assert MatchedFilter().settings() == {"format": 1, "templates": 180, "seed": 1000}
    assert MatchedFilter(step=2).settings()["step"] == 2


def test_delays_of_other_detectors_are_what_light_needs() -> None:
    assert largest_delays(("L1",)) == (0.0,)
    assert largest_delays(("V1", "K1"))[1] == pytest.approx(longest_delay("V1", "K1"), abs=1e-3)
    for names in (("V1", "K1"), ("L1", "A1"), ("ET1", "ET2")):
        assert largest_delays(names)[1] > longest_delay(*names)


@pytest.mark.parametrize(
    ("observation", "population"), [(ONE_DETECTOR, HEAVY), (TWO_DETECTORS, HEAVY_IN_VOLUME)]
)
def test_other_observations_are_filtered_as_by_a_plain_product(observation, population) -> None:
    bank = TemplateBank(2, observation=observation, population=population)
    settings = template_settings(2, observation, population)
    generator = torch.Generator().manual_seed(1)
    strain = NoiseGenerator(observation=observation).sample(4, generator)
    series = bank.snr_series(bank.spectra_of(strain), slice(None))
    middle = population.middle_arrival(observation.window)
    time = int(np.abs(bank.times - middle).argmin())
    channel = observation.num_detectors - 1
    noise = observation.noise(channel)
    matrix = whitening_matrix(noise, observation.num_samples).astype(float)
    data = strain[:, channel].double().numpy() / 1e-21 @ matrix  # (rows, time)
    white = shifted(quadratures(1, settings), bank.times[time], settings, observation) @ matrix
    basis, _ = np.linalg.qr(white.T)
    expected = np.square(data @ basis).sum(1)
    ours = series[:, channel, 1, time].abs().square().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0.03, atol=0.1)
    power = network_power(series.real.square() + series.imag.square(), bank)
    assert power.shape == (4, 2, bank.inner.stop - bank.inner.start)
    assert (power >= (series[:, 0, :, bank.inner].abs().square() - 1e-4)).all()
