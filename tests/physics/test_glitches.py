"""Waveforms of glitches beside formulas in float64, their laws, and their SNR beside bilby."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from competition import SAMPLES, noise_of
from scipy.linalg import solve_toeplitz
from scipy.stats import kstest

from physics import noise
from physics.constants import STRAIN_UNIT
from physics.glitches import (
    DROPOUT_SECONDS,
    KINDS,
    LONGEST_CLICK,
    NOISE_BURST_WIDTH,
    SINE_GAUSSIANS,
    clicks,
    draw_glitches,
    draw_power_law,
    dropout_factors,
    gaussian_envelope,
    noise_bursts,
    optimal_snr,
    sine_gaussians,
    snr_weights,
)
from physics.observation import COMPETITION

DETECTORS, NUM_SAMPLES, SAMPLE_RATE, WINDOW_SECONDS = (
    COMPETITION.detectors,
    COMPETITION.num_samples,
    COMPETITION.sample_rate,
    COMPETITION.window,
)

CPU = torch.device("cpu")
WITH_SNR = tuple(name for name in KINDS if name != "dropout")


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def drawn(kind: str, count: int, length: int = NUM_SAMPLES, centre: float | None = None):
    """Waveforms of one kind (count, length), their centre in the middle by default."""
    middle = length / 2 if centre is None else centre
    numbers = torch.zeros(count, 1, dtype=torch.int64)
    at = torch.full((count, 1), float(middle))
    return draw_glitches(numbers, (kind,), at, torch.arange(length), SAMPLE_RATE)


# --- waveforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "quality", "phase"), [(150.0, 3.0, 0.4), (40.0, 25.0, 2.0), (400.0, 8.0, 5.0)]
)
def test_a_sine_gaussian_is_the_formula(frequency: float, quality: float, phase: float) -> None:
    time = np.arange(-NUM_SAMPLES // 2, NUM_SAMPLES // 2) / SAMPLE_RATE
    tau = quality / (np.sqrt(2) * np.pi * frequency)  # the convention of exp(-t^2 / tau^2)
    expected = np.exp(-(time**2) / tau**2) * np.sin(2 * np.pi * frequency * time + phase)
    found = sine_gaussians(
        torch.tensor(time[None], dtype=torch.float32),
        *map(column, (frequency, quality, phase, 0.0)),
    )
    # float32 has 24 bits, and a phase of 2 pi 400 rad at the far end, where the envelope is zero
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-5)


def test_scattered_light_draws_arches_of_the_fringe_frequency() -> None:
    frequency, rate = 40.0, 1.25  # arches of 0.4 s
    time = torch.arange(-NUM_SAMPLES // 2, NUM_SAMPLES // 2, dtype=torch.float64) / SAMPLE_RATE
    # So large a Q that the envelope is flat.
    quadratures = [
        sine_gaussians(
            time[None], *(torch.tensor([[v]], dtype=torch.float64) for v in (f, 1e6, phase, rate))
        )[0]
        for f, phase in ((frequency, 0.0), (frequency, np.pi / 2))
    ]
    phase = np.unwrap(np.arctan2(*(part.numpy() for part in quadratures)))
    instantaneous = np.gradient(phase, 1 / SAMPLE_RATE) / (2 * np.pi)
    expected = frequency * np.cos(2 * np.pi * rate * time.numpy())
    np.testing.assert_allclose(instantaneous[1:-1], expected[1:-1], atol=0.01)


def test_bursts_clicks_and_dropouts() -> None:
    time = torch.arange(-512, 512)[None] / SAMPLE_RATE
    draws = torch.randn(4000, 1024)
    burst = noise_bursts(time, column(0.05), draws)
    deviation = burst.std(0)
    # 4,000 draws: one standard deviation is 1.1 %, and the largest of 1,024 below 5 of them
    torch.testing.assert_close(
        deviation, gaussian_envelope(time, column(0.05))[0], rtol=0.06, atol=0
    )
    assert gaussian_envelope(column(0.05), column(0.05)).item() == pytest.approx(np.exp(-0.5))
    # Subnormal numbers would make the whitening of a glitch several times slower on a CPU.
    short = gaussian_envelope(time, column(0.001))
    assert (short > 0).sum() == 2 * int(6 * 0.001 * SAMPLE_RATE) + 1
    assert short[short > 0].min() > 1e-8

    offset = torch.arange(-10, 10) - torch.tensor([[0.0], [0.3], [-2.9], [4.0]])
    pulses = clicks(offset, column(1, 2, 3, 4), column(1.0, -1.0, 1.0, -1.0))
    assert pulses.sum(1).tolist() == [1, -2, 3, -4]
    assert pulses[0].nonzero().tolist() == [[10]]
    assert pulses[1].nonzero().tolist() == [[11], [12]]

    factors = dropout_factors(time, column(0.0105))
    assert set(factors.unique().tolist()) == {0.0, 1.0}
    assert (factors == 0).sum() == 2 * int(0.0105 / 2 * SAMPLE_RATE) + 1


# --- laws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 4.0, 1.5])
def test_power_law(power: float) -> None:
    low, high = 5.0, 100.0
    values = draw_power_law((20_000,), (low, high), power, CPU).double().numpy()
    assert values.min() >= low * (1 - 1e-6)
    assert values.max() <= high * (1 + 1e-5)

    def distribution(x):
        """The integral of x^(-power), by its antiderivative."""
        if power == 1:
            return np.log(x / low) / np.log(high / low)
        e = 1 - power
        return (x**e - low**e) / (high**e - low**e)

    assert kstest(values, distribution).pvalue > 1e-3


@pytest.mark.parametrize("kind", SINE_GAUSSIANS)
def test_sine_gaussians_keep_within_their_law(kind: str) -> None:
    law, count = SINE_GAUSSIANS[kind], 300
    wave, factors = drawn(kind, count)
    assert factors is None
    assert wave.abs().max() <= 1
    power = np.abs(np.fft.rfft(wave.double().numpy())) ** 2
    grid = np.fft.rfftfreq(NUM_SAMPLES, 1 / SAMPLE_RATE)
    mean = (power * grid).sum(1) / power.sum(1)  # mean frequency of each
    low, high = law.frequency
    # A sine-Gaussian has a spectral deviation of f / Q; arches lower the mean frequency.
    assert (mean < high * (1 + 1 / law.quality[0])).all()
    assert (mean > low * (0.3 if law.arch else 1 - 1 / law.quality[0])).all()
    assert mean.max() > 1.6 * mean.min()
    # Four deviations of the longest envelope hold all of it.
    longest = 4 * law.quality[1] / (2 * np.pi * low)
    far = np.abs(np.arange(NUM_SAMPLES) / SAMPLE_RATE - WINDOW_SECONDS / 2) > longest
    assert wave[:, torch.tensor(far)].abs().sum() <= 1e-2 * wave.abs().sum()


def test_bursts_clicks_and_dropouts_keep_within_their_laws() -> None:
    wave, _ = drawn("noise_burst", 300)
    offset = (torch.arange(NUM_SAMPLES) - NUM_SAMPLES / 2) / SAMPLE_RATE
    # The mean of t^2, weighted by the square of the envelope, is half the squared width.
    width = (2 * (wave.square() * offset.square()).sum(1) / wave.square().sum(1)).sqrt()
    low, high = NOISE_BURST_WIDTH
    assert width.max() < 1.3 * high
    assert width.max() > 0.6 * high
    assert width.min() < 2 * low

    wave, _ = drawn("click", 300)
    lengths = (wave != 0).sum(1)
    assert set(lengths.tolist()) == set(range(1, LONGEST_CLICK + 1))
    assert set(wave.unique().tolist()) == {-1.0, 0.0, 1.0}

    wave, factors = drawn("dropout", 300)
    assert not wave.any()
    seconds = (factors == 0).sum(1) / SAMPLE_RATE
    low, high = DROPOUT_SECONDS
    assert seconds.min() >= low - 1 / SAMPLE_RATE
    assert seconds.max() <= high + 1 / SAMPLE_RATE
    assert kstest(np.log(seconds.numpy() / low) / np.log(high / low), "uniform").pvalue > 1e-3


# --- SNR ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["H1", "V1"])
@pytest.mark.parametrize("kind", WITH_SNR)
def test_snr_is_bilbys(kind: str, detector: str) -> None:
    bilby = pytest.importorskip("bilby")
    strain, _ = drawn(kind, 8, 2 * NUM_SAMPLES)
    weights = snr_weights((noise_of(detector),), strain.shape[-1], CPU)
    found = optimal_snr(strain, weights)[:, 0].numpy()
    # bilby's inner product of the same strain, in float64, with its own Fourier transform. 16 s
    # resolve the lines of the curves.
    padded = np.pad(strain.double().numpy() * STRAIN_UNIT, ((0, 0), (0, 6 * NUM_SAMPLES)))
    for row, ours in zip(padded, found, strict=True):
        spectrum, grid = bilby.core.utils.nfft(row, SAMPLE_RATE)
        inside = grid >= COMPETITION.min_frequency
        density = noise_of(detector).asd(grid[inside]) ** 2
        theirs = bilby.gw.utils.noise_weighted_inner_product(
            spectrum[inside], spectrum[inside], density, len(row) / SAMPLE_RATE
        )
        assert ours == pytest.approx(np.sqrt(theirs.real), rel=2e-3)


@pytest.mark.parametrize("kind", WITH_SNR)
def test_snr_is_that_of_the_inverse_covariance(kind: str) -> None:
    """rho^2 = h^T C^(-1) h, which knows no Fourier transform and no periodic series."""
    strain, _ = drawn(kind, 6)
    found = torch.cat(
        [
            optimal_snr(strain, snr_weights((noise_of(name),), NUM_SAMPLES, CPU))
            for name in DETECTORS
        ],
        dim=1,
    )  # (row, detector)
    for d, name in enumerate(DETECTORS):
        h = strain.double().numpy().T  # (time, row)
        covariance = noise.autocovariance(noise_of(name), SAMPLES)
        exact = np.sqrt((h * solve_toeplitz(covariance, h)).sum(0))
        # C holds a floor below 10 Hz, where the integral of the SNR has nothing. Only scattered
        # light, whose frequency falls through 10 Hz, has a few per cent of its SNR there.
        np.testing.assert_allclose(
            found[:, d], exact, rtol=0.01 if kind != "scattered_light" else 0.05
        )
