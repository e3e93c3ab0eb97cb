"""Glitches as an augmentation: one loud detector is no merger."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from physics.constants import STRAIN_UNIT
from physics.glitches import KINDS, draw_glitches, draw_power_law, optimal_snr, snr_weights
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError, nearest
from signal_transforms.base import WaveTransform
from signal_transforms.checks import check_positive
from signal_transforms.whitening import Whiten


class AddGlitches(WaveTransform):
    """Add glitches to single detectors at random times; targets stay as they are.

    It takes strain as it is stored, so it stands before `Whiten` and every other transform that
    scales or filters. A signal with a glitch is still a signal, and noise with a glitch is noise.
    Each changed row has one glitch, in a detector drawn uniformly, at a time drawn uniformly in the
    window. Waveforms and the laws of their parameters are those of physics/glitches.py.

    A glitch is scaled to an optimal SNR against the noise curve of its detector. That is the SNR
    of the glitch with what lies up to half a window outside the window, so the window holds less
    of a glitch near its ends. Drop-outs ("dropout") have no SNR.

    With `whiten` it takes strain that has already been whitened, such as `SimulatedDataset` draws,
    and adds whitened glitches: whitening is linear, so the sum is the whitened sum. A drop-out
    depends on strain that whitening no longer holds and is refused.

    Args:
        kinds: weights of the kinds of `physics.glitches.KINDS` that are wanted, in any unit.
            Default: all with equal weights, without "dropout" if `whiten` is given.
        snr: bounds of the SNR.
        snr_power: the density of the SNR is proportional to snr^(-snr_power); 1 is log-uniform.
        per_detector: whether each detector of a row draws on its own whether it has a glitch, and
            which; `p` is then the probability of a detector.
        whiten: arguments of the `Whiten` that the input has gone through; None for strain.
        unit: what a strain of 1e-21 is in the input; leave it for strain as it is stored. Not used
            with `whiten`.
        observation: detectors, one a channel, their noise curves and the sampling rate of the
            strain (before a decimation); an experiment gives its own.

    Raises:
        UserError: a kind is not known, a weight or a bound is out of its range, `whiten` belongs to
            another observation or rate, or the input has another number of channels.
    """

    def __init__(
        self,
        kinds: Mapping[str, float] | None = None,
        snr: Sequence[float] = (5.0, 100.0),
        snr_power: float = 1.0,
        per_detector: bool = False,
        whiten: Mapping[str, Any] | None = None,
        unit: float = STRAIN_UNIT,
        always_apply: bool = False,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        check_positive("AddGlitches", unit=unit)
        if len(snr) != 2 or not 0 < snr[0] <= snr[1] < float("inf"):
            raise UserError(
                f"AddGlitches: snr = {snr}: expected a least and a largest positive number"
            )
        if kinds is None:
            kinds = {name: 1.0 for name in KINDS if whiten is None or name != "dropout"}
        weights = check_kinds(kinds)
        if whiten is not None and "dropout" in weights:
            raise UserError(
                "AddGlitches: a drop-out of whitened strain is not known: leave 'dropout' out of "
                "kinds, or put AddGlitches before Whiten"
            )
        self.whiten = None if whiten is None else Whiten(**{"observation": observation, **whiten})
        self.detectors, self.sr = observation.detectors, observation.sample_rate
        if self.whiten is not None and (
            self.whiten.observation != observation or self.whiten.sr != self.sr
        ):
            raise UserError(
                f"AddGlitches: whiten is of {self.whiten.observation}, sampled at "
                f"{self.whiten.sr:g} Hz, and the glitches are of {observation}: give both the same"
            )
        # A curve that is not known is refused here and not in the middle of an epoch.
        self.noises = tuple(observation.noise(channel) for channel in range(len(self.detectors)))
        self.kinds = tuple(weights)
        self.snr, self.snr_power = (float(snr[0]), float(snr[1])), float(snr_power)
        self.unit, self.per_channel = unit, per_detector
        shares = torch.tensor(list(weights.values()), dtype=torch.float64)
        # Kind k has the share between the cumulative shares k - 1 and k.
        cumulative = (shares.cumsum(0) / shares.sum())[:-1].float()
        self.register_buffer("cumulative", cumulative, persistent=False)

    def draw_scaled(self, channel: Tensor, length: int) -> tuple[Tensor, Tensor | None]:
        """Return glitches of the channels they are in, scaled to an SNR that is drawn.

        Args:
            channel: (batch, glitch, 1).
            length: samples of the window, at the rate of the strain.

        Returns:
            Strain in units of 1e-21, and what to multiply strain by or None if there are no
            drop-outs, both (batch, glitch, length).
        """
        device, shape = channel.device, channel.shape
        uniform = torch.rand(shape, device=device)
        kind = (uniform >= self.cumulative.to(device)).sum(-1, keepdim=True)
        centre = torch.rand(shape, device=device) * (length - 1)
        # Half a window before and after the window, so that the SNR is of the whole glitch and
        # the Fourier transform does not see the end of the window as an edge.
        before = length // 2
        index = torch.arange(-before, 2 * length - before, device=device)
        wave, factors = draw_glitches(kind, self.kinds, centre, index, self.sr)
        weights = snr_weights(self.noises, len(index), device)[channel[..., 0]]
        size = optimal_snr(wave, weights)  # (batch, glitch, 1)
        snr = draw_power_law(shape, self.snr, self.snr_power, device)
        scale = torch.where(size > 0, snr / size, 0.0)  # a drop-out has no waveform
        window = slice(before, before + length)
        return wave[..., window] * scale, None if factors is None else factors[..., window]

    def whiten_glitches(self, strain: Tensor) -> Tensor:
        """Return glitches whitened for every channel, (batch, detector, time).

        Args:
            strain: (batch, glitch, length) in units of 1e-21, with one glitch for all channels
                or one for each.
        """
        length, number = strain.shape[-1], len(self.detectors)
        maps = [self.whiten.operator(channel, length, strain.device) for channel in range(number)]
        parts = []
        # Neighbouring channels that share a map, as H1 and L1 do, are whitened together.
        for _, group in itertools.groupby(range(number), key=lambda channel: id(maps[channel])):
            channels = list(group)
            first, stop = channels[0], channels[-1] + 1
            if self.per_channel:
                parts.append(maps[first](strain[:, first:stop]))
            else:
                parts.append(maps[first](strain).expand(-1, stop - first, -1))
        return torch.cat(parts, dim=1)

    def transform_rows(self, x: Tensor) -> Tensor:
        number = len(self.detectors)
        if x.shape[1] != number:
            raise UserError(
                f"AddGlitches: {x.shape[1]} channels for the detectors "
                f"{', '.join(self.detectors)}: name one detector a channel"
            )
        every = torch.arange(number, device=x.device)[:, None]  # (detector, 1)
        if self.per_channel:
            channel = every.expand(len(x), -1, -1)  # a glitch in each
        else:
            channel = torch.randint(number, (len(x), 1, 1), device=x.device)
        here = channel == every  # (batch, detector, 1)
        if self.whiten is not None:
            strain, _ = self.draw_scaled(channel, x.shape[-1] * self.whiten.decimate)
            return x + torch.where(here, self.whiten_glitches(strain), 0.0).to(x.dtype)
        strain, factors = self.draw_scaled(channel, x.shape[-1])
        # In units of 1e-21 up to here: float32 does not hold the square of a strain.
        added = torch.where(here, strain, 0.0) * self.unit
        if factors is not None:
            # A product, so that a broken sample is not hidden by a drop-out.
            x = x * torch.where(here, factors, 1.0).to(x.dtype)
        return x + added.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {', '.join(self.kinds)}, snr={self.snr}"


def check_kinds(kinds: Mapping[str, float], owner: str = "AddGlitches") -> dict[str, float]:
    """Return the kinds whose weight is above zero.

    Args:
        kinds: weights by kind.
        owner: the class that they are an argument of, for messages.

    Raises:
        UserError: a kind is not known, a weight is negative or not finite, or none is positive.
    """
    for name, weight in kinds.items():
        if name not in KINDS:
            raise UserError(
                f"{owner}: kind {name!r}{nearest(str(name), KINDS)} is not known: choose from "
                f"{', '.join(KINDS)}"
            )
        if not 0 <= weight < float("inf"):
            raise UserError(f"{owner}: the weight of {name!r} is {weight!r}: expected 0 or more")
    weights = {name: float(weight) for name, weight in kinds.items() if weight > 0}
    if not weights:
        raise UserError(f"{owner}: kinds: give at least one kind a weight above 0")
    return weights
