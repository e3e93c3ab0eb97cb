"""Beside PyCBC: signals of binaries in three detectors, and their noise.

PyCBC (https://pycbc.org) searches for mergers and measures them; like bilby it makes one signal
at a time. Its waveforms are those of LALSimulation too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.timing import check_agreement, one_core
from benchmarks.rivals.comparison import Comparison, in_words
from benchmarks.rivals.signals_and_noise import (
    Binaries,
    compare_noise,
    draw_binaries,
    own_noise,
    own_signals,
)
from physics.bank_settings import DISTANCE
from physics.constants import GPS_START, STRAIN_UNIT
from physics.observation import COMPETITION

RATE = COMPETITION.sample_rate
SECONDS = 8  # of the periodic series that a window is cut out of, on both sides


def compare_pycbc(settings: BenchmarkSettings) -> Iterator[Comparison]:
    binaries = draw_binaries(settings)
    ours = own_signals(settings, binaries)
    theirs = signals_of_pycbc(binaries)
    # What differs: float32, and the fade of ours next to the window.
    difference = check_agreement("signals of pycbc", ours.fresh(), theirs(), 2e-3)
    yield Comparison(
        "pycbc.fresh",
        "signal of a new binary in three detectors",
        "pycbc's get_fd_waveform and Detector",
        ours.fresh,
        theirs,
        (len(binaries.parameters),) * 2,
        in_words(difference),
        difference,
        {"binaries": len(binaries.parameters), "strain": "2 s of 3 detectors"},
        around=lambda: one_core(settings.device),
    )
    noise = own_noise(settings)
    draw = noise_of_pycbc()
    yield compare_noise("pycbc.noise", "pycbc's noise_from_psd", noise, draw, settings)


def signals_of_pycbc(binaries: Binaries) -> Callable[[], torch.Tensor]:
    """Return a function that gives what PyCBC makes of the binaries, (binary, detector, time)."""
    import lal
    from lalsimulation import SimInspiralTransformPrecessingNewInitialConditions
    from pycbc.detector import Detector
    from pycbc.waveform import get_fd_waveform

    law = binaries.settings.population
    network = [Detector(name) for name in COMPETITION.detectors]
    names = ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12", "a_1", "a_2")
    size = SECONDS * RATE
    # exp(-2 pi i f t) of a shift by t: the window begins in the middle of the series
    turns = -2j * np.pi * np.fft.rfftfreq(size, 1 / RATE)
    first = size // 2

    def theirs() -> torch.Tensor:
        strain = np.empty((len(binaries.parameters), *COMPETITION.shape))
        for row, (values, place) in enumerate(zip(binaries.named, binaries.places, strict=True)):
            masses = [values[f"mass_{body}"] for body in (1, 2)]
            inclination, *spins = SimInspiralTransformPrecessingNewInitialConditions(
                *(values[name] for name in names),
                *(mass * lal.MSUN_SI for mass in masses),
                law.reference_frequency,
                place["phase"],
            )
            axes = [f"spin{body}{axis}" for body in (1, 2) for axis in "xyz"]
            plus, cross = get_fd_waveform(
                approximant=law.approximant,
                mass1=masses[0],
                mass2=masses[1],
                **dict(zip(axes, spins, strict=True)),
                inclination=inclination,
                coa_phase=place["phase"],
                distance=DISTANCE,
                f_lower=law.min_frequency,
                f_ref=law.reference_frequency,
                f_final=RATE / 2,
                delta_f=1 / SECONDS,
            )
            where = place["ra"], place["dec"]
            for channel, detector in enumerate(network):
                time = place["geocent_time"]
                f_plus, f_cross = detector.antenna_pattern(*where, place["psi"], time)
                arrival = time + detector.time_delay_from_earth_center(*where, time)
                seen = f_plus * plus.numpy() + f_cross * cross.numpy()
                seen = seen[: size // 2 + 1] * np.exp(turns * (arrival - GPS_START + first / RATE))
                series = np.fft.irfft(seen * RATE, size)
                strain[row, channel] = series[first : first + COMPETITION.num_samples]
        return torch.from_numpy(strain / STRAIN_UNIT)

    return theirs


def noise_of_pycbc() -> Callable[[int], torch.Tensor]:
    """Return a function that draws windows of noise, (count, detector, time), in 1e-21."""
    from pycbc.noise import noise_from_psd
    from pycbc.types import FrequencySeries

    densities = []
    for channel in range(COMPETITION.num_detectors):
        # PyCBC draws strain: its own units, or LAL's generator takes tiny PSDs as they are
        power = COMPETITION.noise(channel).psd_on_grid(SECONDS * RATE)
        densities.append(FrequencySeries(power, delta_f=1 / SECONDS))
    rng = np.random.default_rng(5)

    def draw(count: int) -> torch.Tensor:
        windows = np.empty((count, *COMPETITION.shape))
        for row in windows:
            for series, density in zip(row, densities, strict=True):
                seed = int(rng.integers(2**31))
                series[:] = noise_from_psd(COMPETITION.num_samples, 1 / RATE, density, seed)
        return torch.from_numpy(windows)

    return draw
