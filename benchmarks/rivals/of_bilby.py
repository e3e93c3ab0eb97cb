"""Beside bilby: signals of binaries in three detectors, and their noise.

bilby (https://lscsoft.docs.ligo.org/bilby) is a library of inference: it makes one signal at a
time, exactly. Ours makes the same waveforms by the same LALSimulation and places them in batches;
a bank, as training uses it, places each of its waveforms again and again.
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


def compare_bilby(settings: BenchmarkSettings) -> Iterator[Comparison]:
    binaries = draw_binaries(settings)
    ours = own_signals(settings, binaries)
    theirs = signals_of_bilby(binaries)
    # What differs: float32, and the fade of ours next to the window.
    difference = check_agreement("signals of bilby", ours.fresh(), theirs(), 2e-3)
    shared = {"binaries": len(binaries.parameters), "strain": "2 s of 3 detectors"}
    yield Comparison(
        "bilby.fresh",
        "signal of a new binary in three detectors",
        "bilby's WaveformGenerator and Interferometer",
        ours.fresh,
        theirs,
        (len(binaries.parameters),) * 2,
        in_words(difference),
        difference,
        shared,
        around=lambda: one_core(settings.device),
    )
    yield Comparison(
        "bilby.bank",
        "signal of a binary of the bank, placed anew",
        "bilby's WaveformGenerator and Interferometer",
        ours.placed,
        theirs,
        (ours.batch, len(binaries.parameters)),
        "those of the row above",
        difference,
        shared | {"batch": ours.batch},
        around=lambda: one_core(settings.device),
    )
    noise = own_noise(settings)
    draw = noise_of_bilby(settings)
    yield compare_noise("bilby.noise", "bilby's PowerSpectralDensity", noise, draw, settings)


def signals_of_bilby(binaries: Binaries) -> Callable[[], torch.Tensor]:
    """Return a function that gives what bilby makes of the binaries, (binary, detector, time)."""
    from bilby.gw import detector as detectors
    from bilby.gw import source
    from bilby.gw.waveform_generator import WaveformGenerator

    law = binaries.settings.population
    generator = WaveformGenerator(
        duration=SECONDS,
        sampling_frequency=RATE,
        frequency_domain_source_model=source.lal_binary_black_hole,
        waveform_arguments={
            "waveform_approximant": law.approximant,
            "reference_frequency": law.reference_frequency,
            "minimum_frequency": law.min_frequency,
        },
    )
    network = []
    for name in COMPETITION.detectors:
        detector = detectors.get_empty_interferometer(name)
        detector.minimum_frequency, detector.maximum_frequency = law.min_frequency, RATE / 2
        detector.set_strain_data_from_zero_noise(RATE, SECONDS, start_time=GPS_START - SECONDS / 2)
        network.append(detector)
    first = SECONDS // 2 * RATE

    def theirs() -> torch.Tensor:
        strain = np.empty((len(binaries.parameters), *COMPETITION.shape))
        for row, (values, place) in enumerate(zip(binaries.named, binaries.places, strict=True)):
            spectra = generator.frequency_domain_strain(
                {**values, "luminosity_distance": DISTANCE, "phase": place["phase"]}
            )
            for channel, detector in enumerate(network):
                response = detector.get_detector_response(spectra, place)
                series = np.fft.irfft(response * RATE)
                strain[row, channel] = series[first : first + COMPETITION.num_samples]
        return torch.from_numpy(strain / STRAIN_UNIT)

    return theirs


def noise_of_bilby(settings: BenchmarkSettings) -> Callable[[int], torch.Tensor]:
    """Return a function that draws windows of noise, (count, detector, time), in 1e-21."""
    from bilby.gw.detector import PowerSpectralDensity

    grid = np.fft.rfftfreq(SECONDS * RATE, 1 / RATE)
    densities = []
    for channel in range(COMPETITION.num_detectors):
        power = COMPETITION.noise(channel).psd_on_grid(SECONDS * RATE)
        densities.append(PowerSpectralDensity(frequency_array=grid, psd_array=power))
    first = (SECONDS * RATE - COMPETITION.num_samples) // 2

    def draw(count: int) -> torch.Tensor:
        windows = np.empty((count, *COMPETITION.shape))
        for row in windows:
            for series, density in zip(row, densities, strict=True):
                spectrum, _ = density.get_noise_realisation(RATE, SECONDS)
                # bilby's spectrum is that of a Fourier integral: times the rate, of a sum
                drawn = np.fft.irfft(np.nan_to_num(spectrum) * RATE, SECONDS * RATE)
                series[:] = drawn[first : first + COMPETITION.num_samples]
        return torch.from_numpy(windows)

    return draw
