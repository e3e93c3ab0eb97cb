"""Injections into continuous strain, against bilby: what is added, when, and how loud it is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from physics.observation import Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.spin_laws import NoSpins
from simulation.continuous_strain_files import waveform_arguments
from simulation.strain_injections import (
    AFTER_MERGER,
    InjectedSignal,
    InjectionPlan,
    draw_times,
    series_duration,
)

START, SECONDS = 1_238_166_018, 64
OBSERVATION = Observation(("H1", "V1"), 2048, 2.0, 10.0, "aLIGOZeroDetHighPower")
LAW = COMPETITION_POPULATION
NO_SPINS = Population(spins=NoSpins())
SOME_MODES = Population(approximant="IMRPhenomXPHM", modes=(22, 21, 33))
WITHOUT_TIME = ("snr", "signal_start", "network_snr")


def plan_injections(law=LAW, observation=OBSERVATION, seconds=SECONDS, seed=4) -> InjectionPlan:
    noises = tuple(observation.noise(d) for d in range(observation.num_detectors))
    return InjectionPlan(law, (24.0, 30.0), observation, noises, START, seconds, seed)


def add_up(signals: list[InjectedSignal], samples: int) -> np.ndarray:
    """Return (detector, samples) of all signals."""
    total = np.zeros((signals[0].strain.shape[0], samples))
    for signal in signals:
        low, high = max(signal.first, 0), min(signal.end, samples)
        total[:, low:high] += signal.strain[:, low - signal.first : high - signal.first]
    return total


def inject_with_bilby(rows, law, observation, seconds):
    """Return bilby's strain (detector, time) in units of 1e-21, and SNRs (row, detector)."""
    bilby = pytest.importorskip("bilby")
    bilby.core.utils.logger.setLevel("WARNING")
    generator = bilby.gw.WaveformGenerator(
        duration=seconds,
        sampling_frequency=observation.sample_rate,
        start_time=START,
        frequency_domain_source_model=bilby.gw.source.lal_binary_black_hole,
        parameter_conversion=bilby.gw.conversion.convert_to_lal_binary_black_hole_parameters,
        waveform_arguments={
            "waveform_approximant": law.approximant,
            "reference_frequency": law.reference_frequency,
            "minimum_frequency": law.min_frequency,
            "mode_array": json.loads(waveform_arguments(law)["mode_array"] or "null"),
        },
    )
    strain, snrs = [], np.zeros((len(rows), observation.num_detectors))
    for channel, name in enumerate(observation.detectors):
        detector = bilby.gw.detector.get_empty_interferometer(name)
        detector.minimum_frequency = law.min_frequency
        detector.maximum_frequency = observation.nyquist
        grid = np.linspace(5, observation.nyquist, 40_000)
        detector.power_spectral_density = bilby.gw.detector.PowerSpectralDensity(
            frequency_array=grid, psd_array=observation.noise(channel).asd(grid) ** 2
        )
        detector.set_strain_data_from_zero_noise(observation.sample_rate, seconds, START)
        for number, row in enumerate(rows):
            parameters = {k: v for k, v in row.items() if not k.startswith(WITHOUT_TIME)}
            waveform = generator.frequency_domain_strain(parameters)
            response = detector.get_detector_response(waveform, parameters)
            snrs[number, channel] = np.sqrt(detector.optimal_snr_squared(response).real)
            detector.inject_signal_from_waveform_polarizations(parameters, waveform)
        strain.append(detector.strain_data.time_domain_strain * 1e21)
    return np.stack(strain), snrs


def remove_below(strain: np.ndarray, frequency: float, rate: int) -> np.ndarray:
    spectrum = np.fft.rfft(strain)
    spectrum[:, np.fft.rfftfreq(strain.shape[1], 1 / rate) < frequency] = 0
    return np.fft.irfft(spectrum, strain.shape[1])


def compute_every_frequency(monkeypatch) -> None:
    """Let IMRPhenomXPHM compute every frequency, in bilby as well.

    Otherwise it interpolates between frequencies that depend on the lowest one.
    """
    lal, lalsimulation = pytest.importorskip("lal"), pytest.importorskip("lalsimulation")
    create = lal.CreateDict

    def create_exact():
        options = create()
        lalsimulation.SimInspiralWaveformParamsInsertPhenomXHMThresholdMband(options, 0.0)
        lalsimulation.SimInspiralWaveformParamsInsertPhenomXPHMThresholdMband(options, 0.0)
        return options

    monkeypatch.setattr(lal, "CreateDict", create_exact)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("law", "exact", "tolerance"),
    [
        (LAW, False, 1e-3),
        (replace(LAW, approximant="IMRPhenomXPHM"), True, 1e-3),
        (replace(LAW, approximant="IMRPhenomXPHM"), False, 4e-3),
        (SOME_MODES, True, 1e-3),
        (replace(NO_SPINS, approximant="IMRPhenomT"), False, 1e-3),  # computed in time
    ],
    ids=["IMRPhenomPv2", "IMRPhenomXPHM exact", "IMRPhenomXPHM", "some modes", "IMRPhenomT"],
)
def test_signals_are_those_that_bilby_injects(law, exact, tolerance, monkeypatch) -> None:
    if exact:
        compute_every_frequency(monkeypatch)
    plan = plan_injections(law)
    signals = list(plan.signals_by_first_sample())
    assert len(signals) == 2
    ours = add_up(signals, SECONDS * 2048)
    theirs, snrs = inject_with_bilby([s.row for s in signals], law, OBSERVATION, SECONDS)
    peak = np.abs(theirs).max(axis=1, keepdims=True)
    difference = remove_below(ours, law.min_frequency, 2048) - theirs
    assert np.abs(difference / peak).max() < tolerance
    for signal, expected in zip(signals, snrs, strict=True):
        found = [signal.row[f"snr_{name}"] for name in OBSERVATION.detectors]
        assert found == pytest.approx(expected, rel=0.01)
        assert signal.row["network_snr"] == pytest.approx(np.linalg.norm(expected), rel=0.01)


@pytest.mark.filterwarnings("ignore")
def test_signals_of_another_sampling_rate_and_detectors_are_bilbys() -> None:
    observation = Observation(("K1",), 4096, 4.0, 10.0, "KAGRA_design")
    signals = list(plan_injections(observation=observation).signals_by_first_sample())
    ours = add_up(signals, SECONDS * 4096)
    theirs, _ = inject_with_bilby([s.row for s in signals], LAW, observation, SECONDS)
    difference = remove_below(ours, LAW.min_frequency, 4096) - theirs
    assert np.abs(difference).max() < 1e-3 * np.abs(theirs).max()


def test_signals_begin_and_end_smoothly_and_hold_nothing_far_below_their_lowest_frequency() -> None:
    plan = plan_injections()
    for signal in plan.signals_by_first_sample():
        peak = np.abs(signal.strain).max()
        assert np.abs(signal.strain[:, :512]).max() < 1e-3 * peak
        assert np.abs(signal.strain[:, -512:]).max() < 1e-3 * peak
        power = np.abs(np.fft.rfft(signal.strain)) ** 2
        frequencies = np.fft.rfftfreq(signal.strain.shape[1], 1 / 2048)
        assert power[:, frequencies < 15.9].sum() < 1e-12 * power.sum()


def test_an_arrival_between_two_samples_is_kept() -> None:
    """A quarter of a sample later, all detectors see the signal a quarter of a sample later."""
    plan, later = plan_injections(), plan_injections()
    later.times = later.times + 0.25 / 2048
    later.parameters = {**later.parameters, "geocent_time": later.times}
    first, second = (add_up([p.signal(0)], SECONDS * 2048) for p in (plan, later))
    frequencies = np.fft.rfftfreq(first.shape[1], 1 / 2048)
    turned = np.fft.rfft(first) * np.exp(-2j * np.pi * frequencies * 0.25 / 2048)
    moved = np.fft.irfft(turned, first.shape[1])
    # A GPS time in double precision is exact to 0.24 microseconds.
    assert np.abs(moved - second).max() < 2e-3 * np.abs(second).max()
    assert np.abs(first - second).max() > 0.01 * np.abs(second).max()


def test_distances_that_the_law_draws_are_kept_and_others_follow_from_the_snr() -> None:
    class AtDistance(Population):
        def draw_injections(self, count, rng):
            return super().draw_injections(count, rng) | {
                "luminosity_distance": np.full(count, 400.0)
            }

    near, scaled = plan_injections(AtDistance()), plan_injections()
    for number in range(len(near)):
        row, other = near.signal(number).row, scaled.signal(number).row
        assert row["luminosity_distance"] == 400.0
        ratio = other["luminosity_distance"] / 400.0
        assert row["network_snr"] == pytest.approx(other["network_snr"] * ratio, rel=1e-9)
        assert LAW.snr[0] <= other["network_snr"] <= LAW.snr[1]


def test_times_are_spaced_uniformly_between_the_bounds() -> None:
    from scipy.stats import kstest

    times = draw_times(0.0, 100_000.0, (24.0, 30.0), np.random.default_rng(1))
    spacing = np.diff(times, prepend=0.0)
    assert len(times) > 3600
    assert kstest(spacing, "uniform", (24.0, 6.0)).pvalue > 0.01
    assert times[-1] <= 100_000.0 - AFTER_MERGER
    assert times[-1] + 30.0 > 100_000.0 - AFTER_MERGER
    fixed = draw_times(0.0, 100.0, (25.0, 25.0), np.random.default_rng(1))
    assert fixed.tolist() == [25.0, 50.0, 75.0]


def test_long_signals_are_held_whole() -> None:
    light = series_duration(1.4, 1.4, LAW)
    assert light == 512  # from 16 Hz it takes 287 s
    higher = series_duration(10.0, 10.0, replace(LAW, approximant="IMRPhenomXPHM"))
    assert higher >= 2 * series_duration(10.0, 10.0, LAW)


def test_signals_come_in_the_order_in_which_they_begin() -> None:
    class LightSecond(Population):
        def draw_injections(self, count, rng):
            drawn = super().draw_injections(count, rng)
            drawn["mass_1"][1] = drawn["mass_2"][1] = 5.0
            return drawn

    signals = list(plan_injections(LightSecond()).signals_by_first_sample())
    assert [signal.first for signal in signals] == sorted(signal.first for signal in signals)
    assert signals[0].row["geocent_time"] > signals[1].row["geocent_time"]
