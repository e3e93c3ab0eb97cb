"""The near-optimal statistic against numerical integrals and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from competition import design_matrix
from detection_examples import (
    HEAVY,
    HEAVY_IN_VOLUME,
    ONE_DETECTOR,
    TWO_DETECTORS,
    quadratures,
    shifted,
)

from benchmarks.detection.amplitude_prior import TABLE_STEPS, log_amplitude_likelihood
from benchmarks.detection.likelihood import (
    STEP,
    CoherentSearch,
    coherent_groups,
    directions_of_law,
    draw_orientations,
    interpolation,
    interpolation_reach,
    samples_around,
)
from benchmarks.detection.templates import TemplateBank, network_power, template_settings
from physics.bank_settings import COMPETITION_SERIES
from physics.detectors import Network
from physics.noise import whitening_matrix
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION, Population

STRETCH = COMPETITION_SERIES.stretch

pytest.importorskip("lalsimulation")


def test_interpolation_is_exact_for_cubics() -> None:
    delay = np.array([-5.3, 0.0, 0.25, 6.9])
    weights, lag = interpolation(delay, 9)
    offsets = np.arange(-9, 10)
    np.testing.assert_allclose(weights @ (offsets**3 - 2 * offsets), delay**3 - 2 * delay)
    np.testing.assert_allclose(lag[1], -offsets)
    with pytest.raises(ValueError, match="exceed 9"):
        interpolation(np.array([8.5]), 9)


def test_orientations_follow_the_populations_law() -> None:
    draws = draw_orientations(20_000)
    weights = np.array(Population().detector_weights(COMPETITION.detectors))
    # by weights instead of rejection, from other draws
    uniform = torch.rand(4, 200_000, generator=torch.Generator().manual_seed(3))
    dec, cos_i = (2 * uniform[1] - 1).asin(), (2 * uniform[3] - 1).double().numpy()[:, None]
    plus, cross = Network(COMPETITION.detectors).antenna_patterns(
        2 * math.pi * uniform[0], dec, math.pi * uniform[2]
    )
    power = (plus.double().numpy() * (1 + cos_i**2) / 2) ** 2 + (cross.numpy() * cos_i) ** 2
    amplitude = np.sqrt(power @ weights)
    expected = (power * amplitude[:, None]).sum(0) / amplitude.sum()
    found = np.square(np.abs(draws.response)).mean(0)
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert (draws.delay[:, 0] == 0).all()
    assert 0.0095 < np.abs(draws.delay[:, 1]).max() < 0.0101
    assert 0.025 < np.abs(draws.delay[:, 2]).max() < 0.0274


def test_coherent_snr_of_a_signal_is_its_own(coarse) -> None:
    """A template placed as a draw says has Z = SNR for that draw, whatever its phase and time."""
    draws = draw_orientations(40)
    rng = np.random.default_rng(5)
    template, reach = 1, interpolation_reach(COMPETITION)
    both = np.fft.rfft(quadratures(template)[0])
    analytic = np.stack([both, -1j * both])
    matrices = [design_matrix(name).astype(float) for name in COMPETITION.detectors]
    losses = []
    for k in range(40):
        arrival, phase = rng.uniform(1.5, 1.8), rng.uniform(0, 2 * np.pi)
        time = int(np.abs(coarse.times - arrival).argmin())
        arrival = coarse.times[time] + (k % 4) / 4 / 1024  # up to a step late
        strain, total = np.empty((1, 3, COMPETITION.num_samples)), 0.0
        for d in range(3):
            p, q = np.fft.irfft(analytic, STRETCH)
            turned = p * np.cos(phase) - q * np.sin(phase), p * np.sin(phase) + q * np.cos(phase)
            p, q = shifted(np.stack(turned), arrival + draws.delay[k, d])
            a = draws.response[k, d]
            strain[0, d] = a.real * p + a.imag * q
            total += np.square(matrices[d] @ strain[0, d]).sum()
        strain *= 12 / math.sqrt(total) * 1e-21
        series = coarse.snr_series(coarse.spectra_of(torch.tensor(strain).float()), slice(None))
        scale = coarse.norms[:, template, coarse.norms.shape[-1] // 2].double().numpy()
        (group,) = coherent_groups(
            type(draws)(draws.response[k : k + 1], draws.delay[k : k + 1]),
            scale,
            float(coarse.centres[template]),
        )
        found = []
        for at in (time, time + 1):  # the later one where it came nearly a step late
            around = samples_around(
                series[:, :, template], torch.tensor([0]), torch.tensor([at]), reach
            )
            z = around[:, :, group.columns].flatten(1) @ group.weights
            found.append(float(z.norm()) / math.sqrt(TABLE_STEPS))
        losses.append(1 - max(found) / 12)
    assert max(losses) < 0.025  # half a step late
    assert np.mean(losses) < 0.01
    assert min(losses) > -0.005
    assert max(losses[::4]) < 0.005  # in time


def plain_likelihood(series: np.ndarray, bank: TemplateBank, draws) -> tuple[float, float]:
    """Return log of the mean likelihood ratio of one sample, and its largest |Z|, by loops."""
    reach = max(interpolation_reach(COMPETITION))
    ratios, largest = [], 0.0
    step = STEP / COMPETITION.sample_rate
    offsets = np.arange(-reach, reach + 1)
    for template in range(len(bank)):
        scale = bank.norms[:, template, bank.norms.shape[-1] // 2].double().numpy()
        centre = float(bank.centres[template])
        for response, delay in zip(draws.response, draws.delay, strict=True):
            weight = response * scale / np.linalg.norm(response * scale)
            for time in range(bank.inner.start, bank.inner.stop):
                z = 0j
                for d in range(3):
                    # a polynomial through the four samples around the delay
                    near = np.sort(
                        np.argsort(
                            np.abs(offsets + 0.0 - (np.floor(delay[d] / step) + 0.5)), kind="stable"
                        )[:4]
                    )
                    x = offsets[near] * step
                    y = series[d, template, time + offsets[near]] * np.exp(-2j * np.pi * centre * x)
                    fit = sum(
                        y[i]
                        * np.prod([(delay[d] - x[j]) / (x[i] - x[j]) for j in range(4) if j != i])
                        for i in range(4)
                    )
                    z += weight[d] * fit * np.exp(2j * np.pi * centre * delay[d])
                largest = max(largest, abs(z))
                ratios.append(z)
    ratios = np.exp(log_amplitude_likelihood(np.abs(np.array(ratios)), (3.7, 27.0)))
    return math.log(ratios.mean()), largest


def test_likelihood_is_that_of_plain_loops(coarse, holdout) -> None:
    draws = draw_orientations(3)
    spectra = coarse.spectra_of(holdout.batch(0, 2))
    search = CoherentSearch(coarse, draws, COMPETITION_POPULATION, share=1)
    found = search.detection_statistics(spectra).numpy()
    series = coarse.snr_series(spectra, slice(None)).to(torch.complex128).numpy()
    for row in range(2):
        expected, largest = plain_likelihood(series[row], coarse, draws)
        assert found[0, row] == pytest.approx(expected, abs=0.02)
        assert found[1, row] == pytest.approx(largest, rel=1e-3)


def test_the_cells_left_out_do_not_matter(coarse, holdout) -> None:
    spectra = coarse.spectra_of(holdout.batch(0, 8))
    draws = draw_orientations(100)
    every = (
        CoherentSearch(coarse, draws, COMPETITION_POPULATION, share=1)
        .detection_statistics(spectra)
        .numpy()
    )
    search = CoherentSearch(coarse, draws, COMPETITION_POPULATION, share=0.25)
    some = search.detection_statistics(spectra).numpy()
    assert (some[0] <= every[0] + 1e-6).all()
    assert (every[0] - some[0]).max() < 0.6
    np.testing.assert_allclose(some[1], every[1], rtol=1e-6)
    series = coarse.snr_series(spectra, slice(None))
    power = network_power(series.abs().square(), coarse)
    # the coherent SNR cannot exceed the incoherent one, up to interpolation
    assert (every[1] <= 1.02 * power.flatten(1).amax(1).sqrt().numpy() + 0.1).all()
    chosen = search.choose(power)
    assert (chosen.flatten(1).sum(1) == math.ceil(chosen[0].numel() / 4)).all()


@pytest.mark.parametrize(
    ("observation", "population"), [(ONE_DETECTOR, HEAVY), (TWO_DETECTORS, HEAVY_IN_VOLUME)]
)
def test_coherent_snr_is_that_of_the_signal_for_other_observations(observation, population) -> None:
    """Of any number of detectors, at any rate: Z of a template that is there is its SNR."""
    settings = template_settings(2, observation, population)
    bank = TemplateBank(2, STEP, observation=observation, population=population)
    draws, reach = draw_orientations(6, observation, population), interpolation_reach(observation)
    assert draws.response.shape == draws.delay.shape == (6, observation.num_detectors)
    both = np.fft.rfft(quadratures(1, settings)[0])
    series = np.fft.irfft(np.stack([both, -1j * both]), settings.series.stretch)
    scale = bank.norms[:, 1, bank.norms.shape[-1] // 2].double().numpy()
    middle = population.middle_arrival(observation.window)
    time = int(np.abs(bank.times - middle).argmin())
    for k in range(6):
        strain, total = np.empty((1, *observation.shape)), 0.0
        for d in range(observation.num_detectors):
            arrival = bank.times[time] + draws.delay[k, d]
            p, q = shifted(series, arrival, settings, observation)
            a = draws.response[k, d]
            strain[0, d] = a.real * p + a.imag * q
            matrix = whitening_matrix(observation.noise(d), observation.num_samples)
            total += np.square(matrix.astype(float) @ strain[0, d]).sum()
        strain *= 12 / math.sqrt(total) * 1e-21
        found = bank.snr_series(bank.spectra_of(torch.tensor(strain).float()), slice(None))
        own = type(draws)(draws.response[k : k + 1], draws.delay[k : k + 1])
        (group,) = coherent_groups(own, scale, float(bank.centres[1]), observation=observation)
        around = samples_around(found[:, :, 1], torch.tensor([0]), torch.tensor([time]), reach)
        z = around[:, :, group.columns].flatten(1) @ group.weights
        assert float(z.norm()) / math.sqrt(TABLE_STEPS) == pytest.approx(12, rel=0.01)


def test_directions_of_a_law_are_its_own() -> None:
    face_on = draw_orientations(50, TWO_DETECTORS, Population(orientation="face-on"))
    # F+ and Fx of the same size on the real and imaginary axis: |response|^2 <= 1, and the ratio
    # of both is not that of any inclination, but i Fx cos i = i Fx.
    found = directions_of_law(Population(orientation="face-on"), 4, np.random.default_rng(0))
    assert (found["cos_i"] == 1).all()
    assert set(found) == {"cos_i"}
    assert (np.abs(face_on.response) <= 1 + 1e-6).all()
    prior = {"dec": "DeltaFunction(0.5)", "ra": "DeltaFunction(1.0)"}
    drawn = draw_orientations(50, TWO_DETECTORS, Population(prior=prior, sky="isotropic"))
    assert np.ptp(drawn.delay[:, 1]) < 1e-6  # one place on the sky
    assert np.ptp(np.abs(drawn.response[:, 0])) > 0.1  # seen from all sides
