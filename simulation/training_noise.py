"""The noise of training samples: what every kind has in common, and Gaussian noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from physics.noise import NoiseGenerator
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.whitening import Whiten
from simulation.spectral_whitening import SpectralWhitening, psds_of_curves


class TrainingNoise:
    """What training samples are drawn in; a kind of noise is a child of this class.

    Noise may have many PSDs. The PSD of each row and detector is then drawn first
    (`draw_psd_numbers`), and noise and signals of that row are drawn for it. So a signal can be
    drawn, whitened and scaled to an SNR before the noise that it is injected into.

    Args:
        device: where to draw.
        observation: detectors, sampling, window and curves; an experiment gives its own.

    Attributes:
        psds: (psd, num_samples + 1) float64, one-sided, in (1e-21)^2 / Hz, at the frequencies of
            `rfft` of two windows. Those of the observation's curves, one a detector, where a child
            knows no better.
        has_psds: whether rows differ in their PSD, so that `draw_psd_numbers` returns them.
        needs_strain: why this noise cannot be whitened as it is drawn; empty if it can.
    """

    has_psds = False
    needs_strain = ""

    def __init__(
        self, device: torch.device | str = "cpu", *, observation: Observation = COMPETITION
    ) -> None:
        self.device, self.observation = torch.device(device), observation
        noises = [observation.noise(d) for d in range(observation.num_detectors)]
        self.psds: np.ndarray = psds_of_curves(noises, observation.num_samples)

    def draw_psd_numbers(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Draw the PSDs of rows: (count, detector) numbers of rows of `psds`."""
        return torch.arange(self.observation.num_detectors, device=self.device).expand(count, -1)

    def can_be_mixed(self, whitened: bool) -> bool:
        """Whether rows may be mixed with others by `orthogonal_mixtures` without another law.

        That is so for Gaussian noise whose rows all have the same PSDs, or are whitened.
        """
        return False

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        psd_numbers: Tensor | None = None,
    ) -> Tensor:
        """Return (count, detector, num_samples) float32 strain, without transients.

        Args:
            count: how many.
            generator: on the device; default torch's own.
            psd_numbers: (count, detector), as `draw_psd_numbers` draws them; None draws them.
        """
        raise NotImplementedError

    def sample_whitened(
        self, psd_numbers: Tensor, whitening: SpectralWhitening, generator: torch.Generator | None
    ) -> Tensor:
        """Return whitened noise of these PSDs, (count, detector, num_samples // decimate).

        Args:
            psd_numbers: (count, detector).
            whitening: of `psds`.
            generator: on the device; default torch's own.
        """
        raise NotImplementedError

    def draw_rows(
        self,
        count: int,
        generator: torch.Generator,
        psd_numbers: Tensor | None = None,
        whitening: SpectralWhitening | None = None,
    ) -> Tensor:
        """Return noise without transients, (count, detector, time): strain, or whitened.

        Args:
            count: how many.
            generator: on the device.
            psd_numbers: (count, detector); None draws them.
            whitening: of `psds`; None for strain.
        """
        if whitening is None:
            return self.sample(count, generator, psd_numbers)
        if psd_numbers is None:
            psd_numbers = self.draw_psd_numbers(count, generator)
        return self.sample_whitened(psd_numbers, whitening, generator)

    def add_transients(
        self,
        noise: Tensor,
        psd_numbers: Tensor,
        whitening: SpectralWhitening,
        whitened: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return noise with what is drawn anew for each row however often its noise is used.

        Args:
            noise: (count, detector, time), strain or whitened; may be overwritten.
            psd_numbers: (count, detector).
            whitening: of `psds`.
            whitened: whether the noise is.
            generator: on the device; default torch's own.
        """
        return noise


class Gaussian(TrainingNoise):
    """Stationary Gaussian noise of the observation's curves.

    Where a curve is a family, each sample draws a member for each detector; see `NoiseGenerator`.

    Args:
        device: where to draw.
        observation: an experiment gives its own.
    """

    def __init__(
        self, device: torch.device | str = "cpu", *, observation: Observation = COMPETITION
    ) -> None:
        super().__init__(device, observation=observation)
        self.source = NoiseGenerator(device, observation)
        self.has_psds = self.source.has_families
        self.psds = psds_of_curves(self.source.curves, observation.num_samples)

    def draw_psd_numbers(self, count: int, generator: torch.Generator | None) -> Tensor:
        if not self.has_psds:  # nothing is drawn
            return super().draw_psd_numbers(count, generator)
        return self.source.draw_members(count, generator)

    def can_be_mixed(self, whitened: bool) -> bool:
        return whitened or not self.has_psds

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        psd_numbers: Tensor | None = None,
    ) -> Tensor:
        return self.source.sample(count, generator, psd_numbers if self.has_psds else None)

    def sample_whitened(
        self, psd_numbers: Tensor, whitening: SpectralWhitening, generator: torch.Generator | None
    ) -> Tensor:
        return whitening.white_noise(psd_numbers.shape, generator)


class AnyStrain(TrainingNoise):
    """Strain of a class that knows nothing of PSDs; it is whitened by the observation's curves.

    Args:
        source: has `sample(count, generator)`.
        device: where to draw.
        observation: of the strain.
        whiten: what whitens it, or None.
    """

    def __init__(
        self, source: Any, device: torch.device, observation: Observation, whiten: Whiten | None
    ) -> None:
        super().__init__(device, observation=observation)
        self.source, self.whiten = source, whiten

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        psd_numbers: Tensor | None = None,
    ) -> Tensor:
        strain = self.source.sample(count, generator)
        if strain.shape != (count, *self.observation.shape):
            raise UserError(
                f"{type(self.source).__name__}.sample({count}) returned strain of the shape "
                f"{tuple(strain.shape)}: expected {(count, *self.observation.shape)}"
            )
        return strain

    def sample_whitened(
        self, psd_numbers: Tensor, whitening: SpectralWhitening, generator: torch.Generator | None
    ) -> Tensor:
        return self.whiten(self.sample(len(psd_numbers), generator))
