"""Signals of network SNR 1, as strain or whitened, for noise of one PSD or of many."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physics.bank_settings import DISTANCE
from physics.constants import STRAIN_UNIT
from physics.population import chirp_mass
from physics.signals import SignalGenerator
from simulation.spectral_whitening import SpectralWhitening, fade_in
from simulation.whitened_signals import WhitenedSignals


@dataclass(frozen=True)
class UnitSignals:
    """Draws signals of network SNR 1.

    Attributes:
        signals: draws binaries and their places.
        whitened: draws the same signals whitened; None for strain.
        whitening: of the PSDs that the noise may have; None where it has the design curves.
    """

    signals: SignalGenerator
    whitened: WhitenedSignals | None = None
    whitening: SpectralWhitening | None = None

    def draw(
        self, count: int, generator: torch.Generator, psd_numbers: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return signals of network SNR 1.

        Args:
            count: how many.
            generator: on the device.
            psd_numbers: (count, detector) of the noise that they go into; None for the design
                curves.

        Returns:
            (count, detector, time); their network SNR (count,) at the distances of the population,
            None where it has a law of the SNR; and what else is known of them, (count,) each:
            "merger_time" at the geocentre, s after the window begins, and "chirp_mass" in solar
            masses, in the detector frame.
        """
        drawn = self.signals.draw_placements(count, generator)
        if self.whitened is not None:
            gain = None
            if psd_numbers is not None:
                size = self.whitened.stretch_samples
                gain = self.whitening.gains(size, self.whitening.decimate)[psd_numbers]
            signals, snr = self.whitened.whitened_as(drawn, gain)
            signals.mul_(1 / snr[:, None, None])
        else:
            strain = self.signals.project(**drawn)
            if psd_numbers is not None:
                snr = self.whitening.optimal_snr(fade_in(strain), psd_numbers)
            else:
                snr = self.signals.optimal_snr(strain)  # (count, detector)
            snr = snr.norm(dim=1)  # of the network: the root of the sum of the squares
            signals = strain * (STRAIN_UNIT / snr)[:, None, None]
        masses = (self.signals.column(f"mass_{body}", drawn["waveform"]) for body in (1, 2))
        known = {"merger_time": drawn["merger_time"], "chirp_mass": chirp_mass(*masses)}
        if not self.signals.population.has_distance:
            return signals, None, known
        distance = self.signals.draw_distance(drawn["waveform"], generator)
        return signals, snr * (DISTANCE / distance), known
