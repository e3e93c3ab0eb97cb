"""Waveforms beside LALSuite and bilby's source model."""

from __future__ import annotations

import numpy as np
import pytest

from physics.bank_settings import COMPETITION_SERIES, DISTANCE, BankSettings, start_frequency
from physics.population import PARAMETERS
from physics.waveform_bank import WaveformBank
from physics.waveforms import lal_waveform

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
