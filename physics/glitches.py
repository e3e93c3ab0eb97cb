"""Glitches: what real detectors do in single detectors and Gaussian noise does not.

Waveforms of batches of glitches from their parameters, laws that draw such parameters, and the
optimal SNR that a glitch is scaled by. Everything is in torch, on the device of its input. Strain
is in units of 1e-21 (`STRAIN_UNIT`).

The kinds follow the classes of Gravity Spy (Zevin et al., Classical and Quantum Gravity 34, 064003,
2017; Glanzer et al., Classical and Quantum Gravity 40, 065004, 2023), as far as a simple waveform
describes them:

- "blip": a sine-Gaussian of a few ms, as the classes Blip and Tomte.
- "sine_gaussian": any sine-Gaussian in the band of the detectors.
- "scattered_light": a sine-Gaussian of tenths of a second whose frequency draws arches.
- "noise_burst": white noise under a Gaussian envelope.
- "click": one to a few equal samples, as from a digital fault.
- "dropout": the strain is zero for some ms to half a second. It has no SNR of its own, because what
  is lost depends on the strain.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physics.curves import DetectorNoise

# --- waveforms ----------------------------------------------------------------------------------


# There the envelope is 1.5e-8, below float32's resolution of its peak. What lies beyond would
# become subnormal numbers, with which a CPU multiplies matrices several times more slowly.
ENVELOPE_WIDTHS = 6


def gaussian_envelope(time: Tensor, width: Tensor) -> Tensor:
    """Return exp(-t^2 / (2 width^2)), and zero beyond `ENVELOPE_WIDTHS` widths.

    Args:
        time: seconds from the centre of the glitch, (..., samples).
        width: standard deviation in s, (..., 1).
    """
    squared, limit = (time / width).square(), ENVELOPE_WIDTHS**2
    # Clamped, since an exponential that underflows is slow to compute.
    return torch.where(squared < limit, (-0.5 * squared.clamp(max=limit)).exp(), 0.0)


def sine_gaussians(
    time: Tensor, frequency: Tensor, quality: Tensor, phase: Tensor, arch_rate: Tensor
) -> Tensor:
    """Return sine-Gaussians of unit amplitude, whose frequency may draw arches.

    The envelope has the standard deviation quality / (2 pi frequency), the usual definition of the
    quality factor Q (Chatterji et al., Classical and Quantum Gravity 21, S1809, 2004).

    Light that is scattered by a surface which swings with the rate r runs through the fringe
    frequency f(t) = f |cos(2 pi r t)| (Accadia et al., Classical and Quantum Gravity 27, 194011,
    2010): arches of the length 1 / (2 r) and the height f. The phase is the integral

        2 pi int_0^t f cos(2 pi r u) du = f sin(2 pi r t) / r = 2 pi f t sinc(2 r t),

    sinc(x) being sin(pi x) / (pi x). With r = 0 that is 2 pi f t, a plain sine-Gaussian. The feet
    of an arch pass through frequencies where strain is filtered away and no noise is. The amplitude
    is therefore multiplied by (f(t) / f)^2 = cos(2 pi r t)^2, which fades there.

    Args:
        time: seconds from the centre of the glitch, (..., samples).
        frequency: f in Hz, (..., 1), as all that follow.
        quality: Q.
        phase: at the centre, rad.
        arch_rate: r in Hz; 0 for none.
    """
    carrier = (phase + math.tau * frequency * time * torch.sinc(2 * arch_rate * time)).sin()
    fading = (math.tau * arch_rate * time).cos().square()
    return gaussian_envelope(time, quality / (math.tau * frequency)) * fading * carrier


def noise_bursts(time: Tensor, width: Tensor, noise: Tensor) -> Tensor:
    """Return noise under a Gaussian envelope.

    Args:
        time: seconds from the centre of the glitch, (..., samples).
        width: standard deviation of the envelope in s, (..., 1).
        noise: white, of unit variance, (..., samples).
    """
    return gaussian_envelope(time, width) * noise


def clicks(offset: Tensor, samples: Tensor, sign: Tensor) -> Tensor:
    """Return pulses of `samples` equal values.

    Args:
        offset: samples from the beginning of the glitch, (..., samples); need not be whole.
        samples: whole number of samples that are not zero, (..., 1).
        sign: 1 or -1, (..., 1).
    """
    # Exactly `samples` of the numbers ..., x - 1, x, x + 1, ... lie in [0, samples).
    return ((offset >= 0) & (offset < samples)) * sign


def dropout_factors(time: Tensor, duration: Tensor) -> Tensor:
    """Return what to multiply strain by: 0 while a drop-out lasts, else 1.

    Args:
        time: seconds from the middle of the drop-out, (..., samples).
        duration: in s, (..., 1).
    """
    return (time.abs() > duration / 2).to(time.dtype)


# --- laws of the parameters ---------------------------------------------------------------------


def draw_power_law(
    shape: Sequence[int],
    bounds: tuple[float, float],
    power: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw numbers whose density is proportional to x^(-power) between two bounds.

    By inverse transform sampling. A power of 1 is log-uniform.

    Args:
        shape: of what is returned.
        bounds: the least and the largest number.
        power: see above.
        device: where to draw.
        generator: on the device; default torch's own.
    """
    low, high = bounds
    uniform = torch.rand(tuple(shape), generator=generator, device=device)
    if power == 1:
        return low * (high / low) ** uniform
    # The integral of x^(-power) is x^e / e with e = 1 - power, so x^e is uniform. With y = x / low
    # the numbers stay within float32 for any power.
    e = 1 - power
    return low * (1 + uniform * ((high / low) ** e - 1)) ** (1 / e)


@dataclass(frozen=True)
class SineGaussianLaw:
    """Bounds that the parameters of sine-Gaussians are drawn between, log-uniformly.

    Args:
        frequency: Hz.
        quality: Q.
        arch: length of an arch in s; None for a constant frequency.
    """

    frequency: tuple[float, float]
    quality: tuple[float, float]
    arch: tuple[float, float] | None = None


SINE_GAUSSIANS = {
    # A few ms around 100 to 300 Hz with few cycles (Cabero et al., Classical and
    # Quantum Gravity 36, 155010, 2019).
    "blip": SineGaussianLaw(frequency=(100.0, 300.0), quality=(1.5, 6.0)),
    # The range of Q in which Omicron looks for glitches begins near 3 (Robinet et al., SoftwareX
    # 12, 100620, 2020); longer than 30 are lines rather than glitches.
    "sine_gaussian": SineGaussianLaw(frequency=(30.0, 500.0), quality=(3.0, 30.0)),
    # Fast scattering has arches of 0.2 to 0.3 s, slow scattering of 2 to 4 s (Soni et al.,
    # Classical and Quantum Gravity 38, 195016, 2021); a window holds at most one of the latter.
    "scattered_light": SineGaussianLaw(
        frequency=(20.0, 50.0), quality=(15.0, 40.0), arch=(0.2, 3.0)
    ),
}
# Bursts of noise as searches for unmodelled transients inject them have durations of 1 to 100 ms
# (Abadie et al., Physical Review D 85, 122007, 2012); this is the deviation of the envelope in s.
NOISE_BURST_WIDTH = (0.001, 0.1)
# Of clicks and drop-outs there is no catalogue; these limits are chosen.
LONGEST_CLICK = 4  # samples
DROPOUT_SECONDS = (0.002, 0.5)

KINDS = (*SINE_GAUSSIANS, "noise_burst", "click", "dropout")


def draw_glitches(
    kind: Tensor,
    kinds: Sequence[str],
    centre: Tensor,
    index: Tensor,
    sr: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Draw the parameters of glitches and return their waveforms, not yet scaled.

    Args:
        kind: number of each glitch's kind in `kinds`, (..., 1).
        kinds: names among `KINDS`.
        centre: where each glitch lies, in samples of the window, (..., 1); need not be whole.
        index: numbers of the samples wanted, (samples,); negative before the window.
        sr: sampling rate in Hz.
        generator: on the device of `kind`; default torch's own.

    Returns:
        (..., samples) float32, zero for drop-outs; and what to multiply strain by, of the same
        shape, or None if "dropout" is not among the kinds.
    """
    device, shape = kind.device, kind.shape
    options = {"generator": generator, "device": device}
    offset = index - centre  # (..., samples)
    time = offset / sr
    wave = torch.zeros_like(time)
    frequency, quality = torch.ones_like(centre), torch.ones_like(centre)
    arch_rate, is_sine_gaussian = torch.zeros_like(centre), torch.zeros_like(kind, dtype=torch.bool)
    factors = None
    for number, name in enumerate(kinds):
        chosen = kind == number  # (..., 1)
        if name in SINE_GAUSSIANS:
            law = SINE_GAUSSIANS[name]
            drawn = draw_power_law(shape, law.frequency, 1, device, generator)
            frequency = torch.where(chosen, drawn, frequency)
            drawn = draw_power_law(shape, law.quality, 1, device, generator)
            quality = torch.where(chosen, drawn, quality)
            if law.arch is not None:
                drawn = 1 / (2 * draw_power_law(shape, law.arch, 1, device, generator))
                arch_rate = torch.where(chosen, drawn, arch_rate)
            is_sine_gaussian = is_sine_gaussian | chosen
        elif name == "noise_burst":
            width = draw_power_law(shape, NOISE_BURST_WIDTH, 1, device, generator)
            burst = noise_bursts(time, width, torch.randn(time.shape, **options))
            wave = torch.where(chosen, burst, wave)
        elif name == "click":
            samples = torch.randint(1, LONGEST_CLICK + 1, shape, **options)
            sign = 1.0 - 2.0 * torch.randint(2, shape, **options)
            wave = torch.where(chosen, clicks(offset, samples, sign), wave)
        elif name == "dropout":
            duration = draw_power_law(shape, DROPOUT_SECONDS, 1, device, generator)
            factors = torch.where(chosen, dropout_factors(time, duration), 1.0)
    if not SINE_GAUSSIANS.keys().isdisjoint(kinds):
        # One evaluation for all kinds of sine-Gaussians, since sines are what costs.
        phase = math.tau * torch.rand(shape, **options)
        sines = sine_gaussians(time, frequency, quality, phase, arch_rate)
        wave = torch.where(is_sine_gaussian, sines, wave)
    return wave, factors


# --- SNR ----------------------------------------------------------------------------------------


FINER = 8  # bins of the noise curve to a bin of the strain, see `snr_weights`


@functools.lru_cache(maxsize=8)
def snr_weights(noises: tuple[DetectorNoise, ...], size: int, device: torch.device) -> Tensor:
    """Return what the squared moduli of `rfft` of `size` samples are weighted by in an SNR.

    The optimal SNR of strain h in noise of the one-sided PSD S is rho^2 = 4 int |h(f)|^2 / S df
    (Cutler and Flanagan, Physical Review D 49, 2658, 1994). With h(f) = X / sr of `rfft` and bins
    sr / size wide, that is the sum of |X|^2 times 4 / (sr size S). The integral begins where the
    noise does.

    The curves hold lines that are narrower than a bin. |h|^2 is smooth, so it is taken as linear
    between two bins, and 1 / S is integrated on a grid `FINER` times as fine with the weights of
    linear interpolation: a bin's 1 / S is its mean under a triangle that ends at both neighbours.

    Args:
        noises: of the detectors.
        size: number of samples.
        device: where to put them.

    Returns:
        (detector, size // 2 + 1) float32, in 1 / (1e-21)^2.
    """
    fine = size * FINER
    triangle = 1 - np.abs(np.arange(1 - FINER, FINER)) / FINER  # its sum is FINER
    rows = []
    for noise in noises:
        sr = noise.sample_rate
        noisy = np.fft.rfftfreq(fine, 1 / sr) >= noise.min_frequency
        power = noise.psd_on_grid(fine)
        inverse = np.where(noisy, 1 / np.where(noisy, power, 1.0), 0.0)
        mean = np.convolve(inverse, triangle / FINER, mode="same")[::FINER]
        rows.append(4 / (sr * size) * mean)
    with torch.inference_mode(False):  # may later serve where gradients are wanted
        return torch.tensor(np.stack(rows), dtype=torch.float32, device=device)


def optimal_snr(strain: Tensor, weights: Tensor) -> Tensor:
    """Return the optimal SNR of strain in one detector, (..., samples) -> (..., 1).

    Args:
        strain: in units of 1e-21, and zero or nearly so at both ends.
        weights: rows of `snr_weights`, (..., samples // 2 + 1).
    """
    spectrum = torch.view_as_real(torch.fft.rfft(strain))  # (..., frequency, 2)
    return (spectrum.square().sum(-1) * weights).sum(-1, keepdim=True).sqrt()
