"""The waveforms of a bank's binaries, computed by LALSuite.

Importing this file imports neither torch nor LALSuite, so that worker processes start fast.
"""

from __future__ import annotations

import numpy as np

from physics.bank_settings import (
    DISTANCE,
    BankSettings,
    draw_parameters,
    power_of_two,
    start_frequency,
)
from physics.constants import STRAIN_UNIT
from physics.inspiral import inspiral_seconds
from physics.polarisations import highest_m, polarisations


def waveform_duration(mass_1: float, mass_2: float, settings: BankSettings) -> float:
    """Return the length of the periodic series of a waveform, s.

    A mode of m begins, at the same frequency, when the (2, 2) mode has 2 / m of it: (m / 2)^(8/3)
    times as long before the merger. A series that is shorter would show that at its other end.
    """
    highest = highest_m(settings.population.approximant, settings.population.modes)
    if highest <= 2:
        return settings.duration
    begin = start_frequency(mass_1, mass_2, settings) * 2 / highest
    return max(settings.duration, power_of_two(1.5 * inspiral_seconds(begin, mass_1, mass_2)))


def lal_waveform(
    parameters: np.ndarray, settings: BankSettings, phase: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of h+ and hx of a binary by LALSuite, merger at time zero.

    Args:
        parameters: (columns,) in the order of `Population.columns`.
        settings: of the bank.
        phase: orbital phase at the reference frequency, rad; default that of the parameters, or 0.

    Returns:
        Two complex128 arrays at the frequencies k / `waveform_duration` up to half the sampling
        rate, strain / Hz at `DISTANCE`.
    """
    law = settings.population
    binary = dict(zip(law.columns, map(float, parameters), strict=True))
    mass_1, mass_2 = binary["mass_1"], binary["mass_2"]
    return polarisations(
        binary,
        law.approximant,
        settings.series.sample_rate,
        waveform_duration(mass_1, mass_2, settings),
        start_frequency(mass_1, mass_2, settings),
        law.reference_frequency,
        DISTANCE,
        law.modes,
        binary.get("phase", 0.0) if phase is None else phase,
    )


def compute_waveforms(parameters: np.ndarray, settings: BankSettings) -> np.ndarray:
    """Return (rows, 2, stretch) float32: h+ and hx around the merger, in units of 1e-21."""
    import scipy.fft

    series, rate = settings.series, settings.series.sample_rate
    weights = series.weights().astype(np.float32)
    waveforms = np.empty((len(parameters), 2, series.stretch), np.float32)
    for row, values in enumerate(parameters):
        # Spectral amplitudes of 1e-23 per Hz would underflow float32: they are scaled first. The
        # sampling rate turns the inverse discrete transform into the inverse Fourier integral.
        spectra = np.stack(lal_waveform(values, settings)) * (rate / STRAIN_UNIT)
        samples = round(waveform_duration(values[0], values[1], settings) * rate)
        periodic = scipy.fft.irfft(spectra.astype(np.complex64), samples)  # (2, samples)
        # LALSuite puts the merger at time zero of a periodic series, and so what precedes it at
        # the end.
        waveforms[row, :, : series.before] = periodic[:, -series.before :]
        waveforms[row, :, series.before :] = periodic[:, : series.after]
    waveforms *= weights
    return waveforms


def compute_block(settings: BankSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the waveforms and parameters of a small bank; see `WaveformBank`."""
    parameters = draw_parameters(settings)
    return compute_waveforms(parameters, settings), parameters
