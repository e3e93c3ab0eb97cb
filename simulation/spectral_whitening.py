"""Whitening by one PSD out of many for each row and detector: a division of the spectrum.

`Whiten` holds one matrix C^(-1/2) a detector. Where each sample has a PSD of its own, as in a
family of curves or in hours of strain, there would be hundreds of matrices of 32 MB, which take
seconds each to compute. Away from the edges of a window, C^(-1/2) is a division of the spectrum by
the amplitude spectral density, and noise comes out white in either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from physics.curves import DetectorNoise
from physics.noise import FLOOR
from physics.observation import Observation
from signal_transforms.spectral_whitening import gain_of_taps, whitening_taps
from signal_transforms.whitening_operators import LOWEST_KEPT, remove_low_frequencies


def psds_of_curves(noises: Sequence[DetectorNoise], num_samples: int) -> np.ndarray:
    """Return the PSDs of noise curves as `SpectralWhitening` takes them.

    Args:
        noises: the curves.
        num_samples: of a window.

    Returns:
        (curve, num_samples + 1) float64, one-sided, in (1e-21)^2 / Hz.
    """
    return np.stack([noise.psd_on_grid(2 * num_samples, FLOOR) for noise in noises])


class SpectralWhitening:
    """Whitens stretches of strain, each by the PSD that is named for it.

    With `decimate` it returns what `Whiten(decimate=...)` returns: samples at a lower rate, of
    white noise with unit variance, without the lowest frequencies.

    Args:
        psds: (psd, num_samples + 1) one-sided, in (1e-21)^2 / Hz, at the frequencies of `rfft` of
            two windows, positive.
        observation: gives the sampling, the window and the lowest frequency.
        decimate: as in `Whiten`.
        device: where to whiten.
    """

    def __init__(
        self,
        psds: np.ndarray,
        observation: Observation,
        decimate: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.psds, self.decimate, self.device = psds, decimate, torch.device(device)
        self.sample_rate, self.length = observation.sample_rate, observation.num_samples
        self.lowest = LOWEST_KEPT * observation.min_frequency  # Hz, kept by a decimation
        self.known: dict[tuple[int, int], Tensor] = {}  # gains that were asked for

    def gains(self, size: int, decimate: int) -> Tensor:
        """Return what the spectra of stretches are multiplied by, for every PSD.

        See `whitening_taps` for the filter.

        Args:
            size: samples of a stretch, a multiple of 2 decimate.
            decimate: d.

        Returns:
            (psd, size // (2 d) + 1) float32.
        """
        key = (size, decimate)
        if key not in self.known:
            bins = size // (2 * decimate) + 1
            gain = np.empty((len(self.psds), bins))
            for row, psd in zip(gain, self.psds, strict=True):
                taps = whitening_taps(psd, self.sample_rate, decimate)
                row[:] = gain_of_taps(taps, size)[:bins]
            if decimate > 1:
                gain[:, -1] = 0  # a decimated series holds what lies below its Nyquist frequency
            with torch.inference_mode(False):  # may later serve where gradients are wanted
                self.known[key] = torch.tensor(gain, dtype=torch.float32, device=self.device)
        return self.known[key]

    def whiten_stretch(self, x: Tensor, psd_numbers: Tensor) -> Tensor:
        """Return whitened stretches at the decimated rate; a stretch is taken as periodic.

        Args:
            x: (..., size) in units of 1e-21.
            psd_numbers: (...,) of their PSDs.

        Returns:
            (..., size // decimate).
        """
        size, d = x.shape[-1], self.decimate
        gain = self.gains(size, d)[psd_numbers]  # (..., bins)
        spectra = torch.fft.rfft(x)[..., : gain.shape[-1]] * gain
        if d > 1:
            # A decimating cosine transform puts its n-th sample in the middle of the d samples
            # that it stands for, (d - 1) / 2 after the first of them.
            bins = torch.arange(gain.shape[-1], device=self.device)
            angle = bins * (math.pi * (d - 1) / size)
            spectra = spectra * torch.complex(angle.cos(), angle.sin())
        return torch.fft.irfft(spectra, size // d)

    def whiten_window(self, x: Tensor, psd_numbers: Tensor, before: int) -> Tensor:
        """Return the whitened window of stretches.

        Args:
            x: (..., size) in units of 1e-21: the window with the strain before and after it.
            psd_numbers: (...,) of their PSDs.
            before: samples before the window, a multiple of `decimate`.

        Returns:
            (..., num_samples // decimate).
        """
        first = before // self.decimate
        white = self.whiten_stretch(x, psd_numbers)
        white = white[..., first : first + self.length // self.decimate]
        return self.remove_low_frequencies(white)

    def remove_low_frequencies(self, white: Tensor) -> Tensor:
        """Take from windows what `Whiten` leaves out if it decimates."""
        if self.decimate == 1:
            return white
        return remove_low_frequencies(white, self.sample_rate / self.decimate, self.lowest)

    def white_noise(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Return what Gaussian noise of any of the PSDs is, once it is whitened by that PSD.

        Args:
            shape: (rows, detector).
            generator: on the device; default torch's own.

        Returns:
            (rows, detector, num_samples // decimate).
        """
        shape = (*shape, self.length // self.decimate)
        noise = torch.randn(shape, generator=generator, device=self.device)
        return self.remove_low_frequencies(noise)

    def optimal_snr(self, x: Tensor, psd_numbers: Tensor) -> Tensor:
        """Return the optimal SNR of stretches, rho^2 = 4 int |h(f)|^2 / S df.

        Args:
            x: (..., size) in units of 1e-21, zero or nearly so at both ends.
            psd_numbers: (...,) of their PSDs.

        Returns:
            (...,).
        """
        size = x.shape[-1]
        spectra = torch.fft.rfft(x) * self.gains(size, 1)[psd_numbers]
        power = torch.view_as_real(spectra).square().sum(-1)  # (..., frequency)
        # Parseval: all bins but the first and the last stand for two.
        return ((2 * power.sum(-1) - power[..., 0] - power[..., -1]) / size).sqrt()


def fade_in(strain: Tensor) -> Tensor:
    """Return signals (..., time) as their spectrum is taken: without a step, and padded.

    A window may begin in the middle of a signal. That step would have power at all frequencies.
    The first sixteenth of the window is faded in, and as much as a window of zeros is appended.
    """
    length = strain.shape[-1]
    faded = length // 16
    rise = torch.hann_window(2 * faded, device=strain.device)[:faded]
    padded = torch.nn.functional.pad(strain, (0, length))
    padded[..., :faded] *= rise
    return padded
