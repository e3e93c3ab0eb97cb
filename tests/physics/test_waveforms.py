"""The waveform bank beside LALSuite, bilby's source model and its own laws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from physics.population import PARAMETERS
from physics.waveforms import (
    COMPETITION_SERIES,
    DISTANCE,
    BankSettings,
    WaveformBank,
    compute_rows,
    compute_waveforms,
    draw_parameters,
    lal_waveform,
    start_frequency,
)
from runtime.errors import UserError

AFTER_MERGER, BEFORE_MERGER, FADE_IN, FADE_OUT, STRETCH = (
    COMPETITION_SERIES.after,
    COMPETITION_SERIES.before,
    COMPETITION_SERIES.fade_in,
    COMPETITION_SERIES.fade_out,
    COMPETITION_SERIES.stretch,
)

FS = 2048
SETTINGS = BankSettings(size=48, seed=5)  # those of the fixture `bank`


def test_waveforms_are_those_of_lalsuite_at_any_phase(bank: WaveformBank) -> None:
    flat = slice(FADE_IN, STRETCH - FADE_OUT)
    turn = np.exp(2j * 1.1)
    for row in range(6):
        # Another phase, computed by LALSuite, against ours turned in the frequency domain.
        spectra = np.stack(lal_waveform(bank.parameters[row], SETTINGS, phase=1.1))
        series = np.fft.irfft(spectra * FS, 8 * FS) / 1e-21
        direct = np.concatenate([series[:, -BEFORE_MERGER:], series[:, :AFTER_MERGER]], axis=1)
        turned = np.fft.irfft(np.fft.rfft(bank.waveforms[row]) * turn, STRETCH)
        # Fading before turning differs from turning before fading next to the fade alone.
        error = np.abs(turned - direct)[:, flat].max()
        assert error < 2e-3 * np.abs(direct).max()


def test_waveforms_are_those_of_bilbys_source_model(bank: WaveformBank) -> None:
    bilby = pytest.importorskip("bilby")
    names = dict(zip(PARAMETERS, bank.parameters[0], strict=True))
    model = bilby.gw.source.lal_binary_black_hole(
        np.arange(8193) / 8,
        **names,
        luminosity_distance=DISTANCE,
        phase=0.0,
        waveform_approximant="IMRPhenomPv2",
        reference_frequency=20.0,
        minimum_frequency=start_frequency(names["mass_1"], names["mass_2"], SETTINGS),
    )
    plus, cross = lal_waveform(bank.parameters[0], SETTINGS)
    # The same routine: rounding alone.
    np.testing.assert_allclose(plus, model["plus"], atol=1e-10 * np.abs(plus).max())
    np.testing.assert_allclose(cross, model["cross"], atol=1e-10 * np.abs(plus).max())


def test_waveforms_begin_at_20_hz_or_5_s_before_the_merger() -> None:
    assert start_frequency(40, 40, SETTINGS) == 20.0
    # Two neutron stars: the leading order df/dt, integrated, reaches the merger in 5 s.
    from scipy.integrate import quad

    start = start_frequency(1.4, 1.4, SETTINGS)
    chirp_mass = 2.8 * 0.25**0.6 * 4.925490947e-6  # s
    seconds, _ = quad(
        lambda f: 5 / 96 * math.pi ** (-8 / 3) * chirp_mass ** (-5 / 3) * f ** (-11 / 3), start, 1e5
    )
    assert seconds == pytest.approx(5.0, rel=1e-4)


def test_binaries_follow_the_recipe() -> None:
    from scipy.stats import kstest, loguniform

    parameters = dict(zip(PARAMETERS, draw_parameters(BankSettings(size=5000)).T, strict=True))
    total = parameters["mass_1"] + parameters["mass_2"]
    laws = {
        "total mass": (total, loguniform(30, 80).cdf),
        "mass ratio": ((parameters["mass_2"] / parameters["mass_1"] - 0.3) / 0.7, "uniform"),
        "a_1": (parameters["a_1"] / 0.99, "uniform"),
        "a_2": (parameters["a_2"] / 0.99, "uniform"),
        "tilt_1": ((np.cos(parameters["tilt_1"]) + 1) / 2, "uniform"),
        "tilt_2": ((np.cos(parameters["tilt_2"]) + 1) / 2, "uniform"),
        "phi_12": (parameters["phi_12"] / math.tau, "uniform"),
        "phi_jl": (parameters["phi_jl"] / math.tau, "uniform"),
        "theta_jn": ((np.cos(parameters["theta_jn"]) + 1) / 2, "uniform"),
    }
    for name, (values, law) in laws.items():
        # Seeded: a p-value below 1e-3 is a wrong law and not bad luck.
        assert kstest(values, law).pvalue > 1e-3, name


def test_the_bank_is_kept_and_rebuilt(bank: WaveformBank, physics_cache: Path) -> None:
    header = physics_cache / f"waveforms-{SETTINGS.key()}.json"
    again = WaveformBank.load(header)
    assert again.settings == SETTINGS
    assert np.array_equal(again.waveforms, bank.waveforms)
    assert np.array_equal(again.parameters, bank.parameters)
    array = header.with_suffix(".npy")
    array.write_bytes(array.read_bytes()[:-5])
    with pytest.raises(UserError, match="cannot be read"):
        WaveformBank.load(header)
    rebuilt = WaveformBank.build(bank.settings, physics_cache)
    assert np.array_equal(rebuilt.waveforms, bank.waveforms)
    text = header.read_text()
    for damaged in ("{}", text[:-9], text.replace('"rows"', '"raws"'), text.replace("seed", "sad")):
        header.write_text(damaged)
        with pytest.raises(UserError, match="remove it"):
            WaveformBank.load(header)
    header.write_text(text)
    assert BankSettings(size=48, seed=6).key() != SETTINGS.key()
    with pytest.raises(UserError, match="at least one"):
        BankSettings(size=0)


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")
    settings = BankSettings(size=18)
    parameters = draw_parameters(settings)
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((18, 2, STRETCH), np.float32))
    compute_rows(path, parameters, settings, processes=2, chunk=3)  # 18 > 5 x 3: two processes
    assert np.array_equal(np.load(path), compute_waveforms(parameters, settings))
