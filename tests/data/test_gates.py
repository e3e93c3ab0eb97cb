"""Gates: which glitches are gated, which signals never are, and what a gate does to the rest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data.gates import Gate, find_loud_spans, gate_glitches
from data.tracked_psds import TrackedPSD, measure_tracked_psds, whiten_by_psds
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION
from search.conditioning import make_design_noise
from simulation.strain_injections import whole_polarisations

RATE, SECONDS, START = COMPETITION.sample_rate, 64, 1e9


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return make_design_noise("H1", SECONDS * RATE, np.random.default_rng(0))


@pytest.fixture(scope="module")
def psds(noise) -> list[TrackedPSD]:
    return measure_tracked_psds(noise, np.ones(len(noise), bool), START, COMPETITION, 64.0)


def make_merger(mass_1: float, mass_2: float) -> np.ndarray:
    """Return 16 s of a signal whose merger lies in the middle, not scaled."""
    pytest.importorskip("lalsimulation")
    spins = dict.fromkeys(("a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl"), 0.0)
    row = {"mass_1": mass_1, "mass_2": mass_2, "theta_jn": 0.4, "phase": 0.3, **spins}
    row["luminosity_distance"] = 500.0
    plus, _ = whole_polarisations(row, COMPETITION_POPULATION, RATE, 16.0)
    return np.roll(np.fft.irfft(plus), 8 * RATE)


def make_blip(frequency: float, quality: float) -> np.ndarray:
    """Return 4 s with a sine-Gaussian in the middle, not scaled."""
    time = (np.arange(4 * RATE) - 2 * RATE) / RATE
    width = quality / (2 * np.pi * frequency)
    return np.exp(-0.5 * (time / width) ** 2) * np.sin(2 * np.pi * frequency * time + 0.4)


def add_at_snr(noise, psds, wave, snr: float, second: float = 32) -> np.ndarray:
    """Return noise with a waveform, its middle at some second, scaled to an optimal SNR."""
    first = round(second * RATE) - len(wave) // 2
    alone = np.zeros_like(noise)
    alone[first : first + len(wave)] = wave
    # the optimal SNR is the norm of the whitened waveform
    norm = np.linalg.norm(whiten_by_psds(alone, START, psds, RATE).astype(np.float64))
    return noise + alone * np.float32(snr / norm)


def gate(x: np.ndarray, psds, **options) -> tuple[list[Gate], np.ndarray, np.ndarray]:
    """Return the gates, the gated strain and the usable samples."""
    x, usable = x.copy(), np.ones(len(x), bool)
    return gate_glitches(x, usable, START, psds, RATE, "H1", **options), x, usable


def loudest_whitened(x: np.ndarray, psds) -> float:
    """Return the largest magnitude of whitened strain, away from where the strain breaks off."""
    return float(np.abs(whiten_by_psds(x, START, psds, RATE)[2 * RATE : -2 * RATE]).max())


@pytest.mark.parametrize("masses", [(10, 8), (36, 29), (60, 60), (120, 100), (250, 200)])
def test_no_merger_of_snr_100_in_one_detector_is_gated(noise, psds, masses) -> None:
    x = add_at_snr(noise, psds, make_merger(*masses), 100)
    gates, unchanged, usable = gate(x, psds)
    assert gates == []
    assert (unchanged == x).all()
    assert usable.all()


def test_a_merger_so_loud_that_no_detector_of_today_sees_it_would_be_gated(noise, psds) -> None:
    """So the test above says something: the same waveforms, three times as loud, are gated."""
    x = add_at_snr(noise, psds, make_merger(60, 60), 300)
    gates, _, _ = gate(x, psds)
    assert len(gates) == 1
    assert gate(x, psds, gate_snr=350)[0] == []


@pytest.mark.parametrize("frequency", [60, 150, 300])
@pytest.mark.parametrize("quality", [1.5, 6, 30])
def test_a_blip_of_snr_200_is_gated(noise, psds, frequency, quality) -> None:
    x = add_at_snr(noise, psds, make_blip(frequency, quality), 200)
    (found,), gated, usable = gate(x, psds)
    assert found.detector == "H1"
    assert found.snr == pytest.approx(200, rel=0.05)
    assert found.start < START + 32 < found.end
    assert found.end - found.start < 1.2
    assert loudest_whitened(gated, psds) < 6  # nothing of it is left
    changed = np.flatnonzero(gated != x)
    assert not usable[changed].any()
    assert START + changed[0] / RATE >= found.start
    assert START + changed[-1] / RATE <= found.end


def test_quiet_glitches_stay(noise, psds) -> None:
    assert gate(add_at_snr(noise, psds, make_blip(150, 3), 100), psds)[0] == []
    assert gate(noise, psds)[0] == []


def test_neighbours_of_a_gate_are_as_without_the_glitch(noise, psds) -> None:
    """A signal of SNR 20 one second beside a glitch of SNR 3,000."""
    signal = add_at_snr(noise, psds, make_merger(36, 29), 20, 30.8)
    _, gated, usable = gate(add_at_snr(signal, psds, make_blip(150, 6), 3000), psds)
    difference = whiten_by_psds(gated, START, psds, RATE)
    difference -= whiten_by_psds(signal, START, psds, RATE)
    assert usable[: round(31 * RATE)].all()
    beside = np.abs(difference[usable])
    assert beside.max() < 2
    assert np.sqrt((difference[round(30 * RATE) : round(31 * RATE)] ** 2).mean()) < 0.05


def test_a_glitch_beside_a_louder_one_is_gated_too(noise, psds) -> None:
    x = add_at_snr(noise, psds, make_blip(150, 3), 20_000, 30)
    x = add_at_snr(x, psds, make_blip(60, 3), 300, 31.2)
    gates, gated, _ = gate(x, psds)
    assert loudest_whitened(gated, psds) < 6
    assert gates[0].start < START + 30
    assert gates[-1].end > START + 31.2
    assert all(one.end < two.start for one, two in itertools.pairwise(gates))


def test_glitches_where_two_psds_meet_are_gated(noise, psds) -> None:
    halves = [
        TrackedPSD(START, START + 32, psds[0].power),
        TrackedPSD(START + 32, START + 64, psds[0].power),
    ]
    x = add_at_snr(noise, psds, make_blip(150, 3), 5000)
    _, gated, _ = gate(x, halves)
    assert np.allclose(gated, gate(x, psds)[1], atol=1e-3)


def test_unusable_samples_are_no_glitches(noise, psds) -> None:
    white = whiten_by_psds(noise, START, psds, RATE)
    white[1000:1200] = 50
    usable = np.ones(len(white), bool)
    (span,) = find_loud_spans(white, usable, RATE, 125)
    assert (span.first, span.last, span.peak) == (1000, 1199, 50)
    usable[1000:1200] = False
    assert find_loud_spans(white, usable, RATE, 125) == []
