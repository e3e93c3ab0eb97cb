"""Noise with glitches: what single detectors do beside their stationary noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from configuration.class_with_arguments import Part
from physics.constants import STRAIN_UNIT
from physics.glitches import KINDS, draw_glitches, draw_power_law
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.glitches import check_kinds
from simulation.spectral_whitening import SpectralWhitening
from simulation.training_noise import Gaussian, TrainingNoise


class Glitches(TrainingNoise):
    """Another noise with glitches in single detectors at independent times.

    Glitches come in each detector as a Poisson process, so that a window may have none or several,
    and those of different detectors have nothing to do with each other. Waveforms and the laws of
    their parameters are those of physics/glitches.py. Each is scaled to an optimal SNR against the
    PSD that the row has in that detector. Samples with and without a signal have them alike.

    `AddGlitches` is the same as an augmentation, of strain from files.

    Args:
        noise: what they are added to: a `Part` of another noise; None for `Gaussian`.
        rate: glitches a second and detector. LIGO's detectors had 0.005 to 0.02 above SNR 6.5 in
            O3 (Abbott et al., Physical Review X 13, 041039, 2023); a network learns from more.
        kinds: weights of the kinds of `physics.glitches.KINDS`, in any unit. Default: all but
            "dropout" with equal weights. A drop-out has no SNR and needs strain that is not yet
            whitened.
        snr: bounds of the SNR.
        snr_power: the density of the SNR is proportional to snr^(-snr_power); 1 is log-uniform.
        device: where to draw.
        observation: an experiment gives its own.

    Raises:
        UserError: an argument out of its range, or a kind that is not known.
    """

    def __init__(
        self,
        noise: Part | None = None,
        rate: float = 0.1,
        kinds: Mapping[str, float] | None = None,
        snr: Sequence[float] = (5.0, 100.0),
        snr_power: float = 1.0,
        device: torch.device | str = "cpu",
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(device, observation=observation)
        if not 0 < rate < float("inf"):
            raise UserError(f"Glitches: rate = {rate}: expected a number of glitches a second")
        if len(snr) != 2 or not 0 < snr[0] <= snr[1] < float("inf"):
            raise UserError(
                f"Glitches: snr = {tuple(snr)}: expected a least and a largest positive number"
            )
        part = Part(Gaussian) if noise is None else noise
        if not isinstance(part, Part) or not issubclass(part.cls, TrainingNoise):
            raise UserError(
                f"Glitches: noise = {noise!r}: expected a part such as Gaussian or RealStrain"
            )
        self.noise: TrainingNoise = part.build_for(device=device, observation=observation)
        self.psds, self.has_psds = self.noise.psds, self.noise.has_psds
        if kinds is None:
            kinds = {name: 1.0 for name in KINDS if name != "dropout"}
        weights = check_kinds(kinds, "Glitches")
        self.needs_strain = self.noise.needs_strain
        if "dropout" in weights:
            self.needs_strain = "a drop-out of whitened strain is not known"
        self.kinds, self.rate = tuple(weights), float(rate)
        self.snr, self.snr_power = (float(snr[0]), float(snr[1])), float(snr_power)
        shares = torch.tensor(list(weights.values()), dtype=torch.float64)
        # Kind k has the share between the cumulative shares k - 1 and k.
        cumulative = (shares.cumsum(0) / shares.sum())[:-1].float()
        self.cumulative = cumulative.to(self.device)

    def draw_psd_numbers(self, count: int, generator: torch.Generator | None) -> Tensor:
        return self.noise.draw_psd_numbers(count, generator)

    def can_be_mixed(self, whitened: bool) -> bool:
        return self.noise.can_be_mixed(whitened)  # the glitches come later

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        psd_numbers: Tensor | None = None,
    ) -> Tensor:
        return self.noise.sample(count, generator, psd_numbers)

    def sample_whitened(
        self, psd_numbers: Tensor, whitening: SpectralWhitening, generator: torch.Generator | None
    ) -> Tensor:
        return self.noise.sample_whitened(psd_numbers, whitening, generator)

    def draw_counts(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Draw how many glitches each row of one detector has, (rows,) int64."""
        expected = torch.full((rows,), self.rate * self.observation.window, device=self.device)
        return torch.poisson(expected, generator=generator).long()

    def add_transients(
        self,
        noise: Tensor,
        psd_numbers: Tensor,
        whitening: SpectralWhitening,
        whitened: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        noise = self.noise.add_transients(noise, psd_numbers, whitening, whitened, generator)
        rows = noise.flatten(0, 1)  # (count, detector, time) -> (rows, time)
        counts = self.draw_counts(len(rows), generator)
        # The row of every glitch, (glitches,): a row with two glitches stands there twice.
        row = torch.repeat_interleave(torch.arange(len(rows), device=self.device), counts)
        if not len(row):
            return noise
        numbers, length = psd_numbers.flatten()[row], self.observation.num_samples
        wave, factors = self.draw_scaled(numbers, whitening, generator)  # (glitches, 2 length)
        before = length // 2
        window = slice(before, before + length)
        if whitened:
            white = whitening.whiten_window(wave, numbers, before)
            return rows.index_add(0, row, white).view_as(noise)
        if factors is not None:
            lost = torch.zeros_like(rows).index_add(0, row, 1 - factors[:, window])
            rows = rows * (lost == 0)  # a product, so that a broken sample is not hidden
        return rows.index_add(0, row, wave[:, window] * STRAIN_UNIT).view_as(noise)

    def draw_scaled(
        self, psd_numbers: Tensor, whitening: SpectralWhitening, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """Draw glitches, each scaled to a drawn SNR.

        Args:
            psd_numbers: (glitches,) of the PSD that each is scaled by.
            whitening: of `psds`.
            generator: on the device; default torch's own.

        Returns:
            (glitches, 2 num_samples) in units of 1e-21, the window in the middle, so that the SNR
            is that of the whole glitch; and what to multiply strain by, or None without drop-outs.
        """
        options = {"generator": generator, "device": self.device}
        shape, length = (len(psd_numbers), 1), self.observation.num_samples
        uniform = torch.rand(shape, **options)
        kind = (uniform >= self.cumulative).sum(-1, keepdim=True)
        centre = torch.rand(shape, **options) * (length - 1)
        index = torch.arange(-(length // 2), 2 * length - length // 2, device=self.device)
        rate = float(self.observation.sample_rate)
        wave, factors = draw_glitches(kind, self.kinds, centre, index, rate, generator)
        size = whitening.optimal_snr(wave, psd_numbers)[:, None]  # (glitches, 1)
        snr = draw_power_law(shape, self.snr, self.snr_power, self.device, generator)
        # A drop-out has no waveform and no SNR.
        return wave * torch.where(size > 0, snr / size, 0.0), factors
