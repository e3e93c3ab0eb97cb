"""Beside ml4gw: whitening, spectral density, Q-transform, IMRPhenomPv2 and signals of a given SNR.

ml4gw (https://github.com/ML4GW/ml4gw) does on a GPU what machine learning with gravitational waves
needs. Its whitening divides spectra, as `SpectralWhitening` does; its filter is as long as ours
here, and was made beforehand on both sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.timing import check_agreement
from benchmarks.rivals.comparison import Comparison, in_words
from benchmarks.spectrograms.cwt import front_end_of
from data.strain_conditioning import measure_psd, welch_samples
from physics.bank_settings import DISTANCE, BankSettings, draw_parameters
from physics.constants import STRAIN_UNIT
from physics.noise import FLOOR, NoiseGenerator
from physics.observation import COMPETITION, Observation
from physics.waveforms import lal_waveform, waveform_duration
from simulation.spectral_whitening import SpectralWhitening, psds_of_curves

RATE = COMPETITION.sample_rate
CHANNELS = range(COMPETITION.num_detectors)


def compare_ml4gw(settings: BenchmarkSettings) -> Iterator[Comparison]:
    yield compare_whitening(settings)
    yield compare_spectral_density(settings)
    yield compare_q_transform(settings)
    yield compare_phenom_pv2(settings)
    yield compare_snr(settings)


def noise_of(settings: BenchmarkSettings, batch: int, window: float) -> torch.Tensor:
    """Return Gaussian noise of the competition's curves, (batch, detector, time), in 1e-21."""
    observation = dataclasses.replace(COMPETITION, window=window)
    return NoiseGenerator(settings.device, observation).sample(batch) / STRAIN_UNIT


def own_whitening(settings: BenchmarkSettings) -> tuple[SpectralWhitening, torch.Tensor]:
    """Return the whitening by the competition's curves, and the numbers of their PSDs."""
    curves = [COMPETITION.noise(channel) for channel in CHANNELS]
    psds = psds_of_curves(curves, COMPETITION.num_samples)
    whitening = SpectralWhitening(psds, COMPETITION, device=settings.device)
    return whitening, torch.arange(len(curves), device=settings.device)


def compare_whitening(settings: BenchmarkSettings) -> Comparison:
    from ml4gw.transforms import FixedWhiten

    batch = settings.choose(cpu=64, cuda=1024, quick=2)
    reach = 2 * COMPETITION.window  # s, of both filters
    seconds = 2 * reach
    x = noise_of(settings, batch, seconds)
    whitening, numbers = own_whitening(settings)
    rows = numbers.expand(batch, -1)  # (batch, detector)
    # (time,) in the middle, which the ends do not reach
    inner = slice(round(reach / 2 * RATE), round((seconds - reach / 2) * RATE))
    whiten = FixedWhiten(len(numbers), seconds, RATE)
    curves = [COMPETITION.noise(channel) for channel in CHANNELS]
    size = x.shape[-1]
    whiten.fit(reach, *(torch.tensor(curve.psd_on_grid(size, FLOOR)) for curve in curves))
    whiten = whiten.to(settings.device)

    def ours() -> torch.Tensor:
        return whitening.whiten_stretch(x, rows)[..., inner]

    # Theirs takes the curve at twice as many frequencies before its filter is cut to the same
    # length, so that the lines of the curves are not quite the same: 3 % of unit variance.
    difference = check_agreement("whitening", ours(), whiten(x), 5e-2)
    return Comparison(
        "ml4gw.whitening",
        "whitening by a PSD, a sample",
        "ml4gw's FixedWhiten",
        ours,
        lambda: whiten(x),
        (batch, batch),
        f"differ by {difference:.0e} of the peak, at the curves' lines; theirs is in float64",
        difference,
        {"batch": batch, "strain": f"{seconds:g} s of 3 detectors"},
    )


def compare_spectral_density(settings: BenchmarkSettings) -> Comparison:
    from ml4gw.transforms import SpectralDensity

    seconds = settings.choose(cpu=256, cuda=256, quick=32)
    size = welch_samples(COMPETITION)
    x = noise_of(settings, 1, seconds)[0].double()  # (detector, time)
    series = x.cpu().numpy()
    density = SpectralDensity(RATE, size / RATE, average="median").to(settings.device)

    def ours() -> torch.Tensor:
        return torch.from_numpy(np.stack([measure_psd(row, COMPETITION) for row in series]))

    # Below the lowest frequency ours is raised, so that strain can be whitened with it.
    seen = slice(round(1.1 * COMPETITION.min_frequency * size / RATE), -1)
    found = ours()[:, seen], density(x)[:, seen].cpu()
    difference = check_agreement("spectral density", *found, 1e-4)
    return Comparison(
        "ml4gw.spectral_density",
        "median spectral density of three detectors",
        "ml4gw's SpectralDensity",
        ours,
        lambda: density(x),
        (1, 1),
        in_words(difference),
        difference,
        {"strain": f"{seconds} s", "pieces": f"{size / RATE:g} s"},
    )


def compare_q_transform(settings: BenchmarkSettings) -> Comparison:
    from ml4gw.transforms import SingleQTransform

    from configs import Nspec16

    batch = settings.choose(cpu=64, cuda=256, quick=2)
    front_end = front_end_of(Nspec16, settings.quick, trainable_width=False).to(settings.device)
    rows, columns = len(front_end.scales), COMPETITION.num_samples // front_end.stride
    transform = SingleQTransform(
        COMPETITION.window, RATE, (rows, columns), q=12, frange=[20.0, 800.0]
    ).to(settings.device)
    x = torch.randn(batch, *COMPETITION.shape, device=settings.device)
    return Comparison(
        "ml4gw.q_transform",
        f"Morlet image of {rows} x {columns}, a sample",
        "ml4gw's SingleQTransform of the same size",
        torch.no_grad()(lambda: front_end(x)),
        torch.no_grad()(lambda: transform(x)),
        (batch, batch),
        "not compared: a wavelet's magnitude and a tile's normalised energy",
        settings={"batch": batch},
    )


def compare_phenom_pv2(settings: BenchmarkSettings) -> Comparison:
    import lal
    from lalsimulation import SimInspiralTransformPrecessingNewInitialConditions
    from ml4gw.waveforms import IMRPhenomPv2

    count = settings.choose(cpu=64, cuda=1024, quick=2)
    bank = BankSettings(size=count, seed=11)
    law = bank.population
    parameters = draw_parameters(bank)
    binaries = [dict(zip(law.columns, map(float, row), strict=True)) for row in parameters]
    names = ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12", "a_1", "a_2")
    given = []
    for binary in binaries:
        masses = [binary[f"mass_{body}"] for body in (1, 2)]
        spins = SimInspiralTransformPrecessingNewInitialConditions(
            *(binary[name] for name in names),
            *(mass * lal.MSUN_SI for mass in masses),
            law.reference_frequency,
            0.0,
        )
        chirp = (masses[0] * masses[1]) ** 0.6 / sum(masses) ** 0.2
        given.append([chirp, masses[1] / masses[0], *spins])
    # (count, 9) -> 9 of (count,)
    chirp, ratio, inclination, *spins = torch.tensor(given, device=settings.device).unbind(1)
    step = 1 / waveform_duration(*parameters[0][:2], bank)  # Hz
    frequencies = np.arange(round(RATE / 2 / step) + 1) * step
    seen = frequencies >= law.min_frequency
    grid = torch.tensor(frequencies[seen], device=settings.device)
    model = IMRPhenomPv2().to(settings.device)
    distance = torch.full_like(chirp, DISTANCE)
    zero = torch.zeros_like(chirp)

    def theirs() -> tuple[torch.Tensor, torch.Tensor]:
        return model(
            grid, chirp, ratio, *spins, distance, zero, inclination, law.reference_frequency
        )

    def ours() -> np.ndarray:
        return np.stack([lal_waveform(row, bank) for row in parameters])

    lost = mismatch(ours()[..., seen], torch.stack(theirs()[::-1], 1).cpu().numpy())
    return Comparison(
        "ml4gw.phenom_pv2",
        "IMRPhenomPv2 of a binary, by LALSimulation",
        "ml4gw's IMRPhenomPv2, in batches",
        ours,
        theirs,
        (count, count),
        f"mismatch of h+ at most {lost:.0e}",
        lost,
        {"binaries": count, "frequencies": int(seen.sum())},
    )


def mismatch(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest mismatch of h+ over the binaries, white noise, over time and phase.

    Args:
        ours, theirs: (binary, 2, frequency) complex.
    """
    worst = 0.0
    for one, other in zip(ours[:, 0], theirs[:, 0], strict=True):
        # The overlap at every shift in time is an inverse Fourier transform; its magnitude does
        # not depend on the phase. Padded eightfold, a shift is found to an eighth of a sample.
        overlap = np.abs(np.fft.ifft(one.conj() * other, 8 * len(one))).max() * 8 * len(one)
        worst = max(worst, 1 - float(overlap / np.linalg.norm(one) / np.linalg.norm(other)))
    return worst


def compare_snr(settings: BenchmarkSettings) -> Comparison:
    from ml4gw.gw import reweight_snrs

    batch = settings.choose(cpu=256, cuda=4000, quick=2)
    observation = dataclasses.replace(COMPETITION, window=2 * COMPETITION.window)
    x = smooth_signals(settings, batch, observation)
    target = 5 + 15 * torch.rand(batch, device=settings.device)
    whitening, numbers = own_whitening(settings)
    rows = numbers.expand(batch, -1)  # (batch, detector)
    curves = [COMPETITION.noise(channel) for channel in CHANNELS]
    psd = torch.tensor(
        np.stack([curve.psd_on_grid(observation.num_samples, FLOOR) for curve in curves]),
        device=settings.device,
    )

    def ours() -> torch.Tensor:
        snr = whitening.optimal_snr(x, rows).norm(dim=1)  # of the network
        return x * (target / snr)[:, None, None]

    def theirs() -> torch.Tensor:
        return reweight_snrs(x, target, psd, RATE)

    difference = check_agreement("signals of a given SNR", ours(), theirs(), 2e-2)
    return Comparison(
        "ml4gw.snr",
        "signals scaled to a network SNR, each",
        "ml4gw's reweight_snrs",
        ours,
        theirs,
        (batch, batch),
        f"differ by {difference:.0e} of the peak: our filter ends after a window",
        difference,
        {"batch": batch, "strain": f"{observation.window:g} s of 3 detectors"},
    )


def smooth_signals(
    settings: BenchmarkSettings, batch: int, observation: Observation
) -> torch.Tensor:
    """Return sine-Gaussians of random frequency, width and time, (batch, detector, time)."""
    shape = (batch, COMPETITION.num_detectors, 1)
    uniform = torch.rand(4, *shape, device=settings.device)
    time = torch.arange(observation.num_samples, device=settings.device) / RATE
    centre = observation.window * (0.4 + 0.2 * uniform[0])
    width = 0.01 + 0.05 * uniform[1]
    envelope = torch.exp(-(((time - centre) / width) ** 2))
    return envelope * torch.sin(2 * torch.pi * (40 + 200 * uniform[2]) * time + 6 * uniform[3])
