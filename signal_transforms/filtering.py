"""Waveform transforms that filter: band-passes with and without phase shift, spectral dropout.

The operators behind the band-passes are made in band_pass_operators.py; whitening has files of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.band_pass_operators import band_pass_operator, biquad_operator
from signal_transforms.base import WaveTransform
from signal_transforms.checks import check_band


class BandPass(WaveTransform):
    """Butterworth band-pass without phase shift: forwards, then backwards.

    Equal to scipy's `sosfiltfilt` with an odd extension of 3 (2 order + 1) samples, within 2e-7 of
    the peak; it is computed in float64 and rounded. The operator is made at the first batch of each
    length (a second or two) and shared by all transforms of the same band.

    Args:
        lower: lower edge in Hz; the gain there, of both passes together, is one half.
        upper: upper edge in Hz.
        sr: sampling rate in Hz; None is that of the observation.
        order: order of the prototype; in effect it is doubled by the second pass.
        taper: length in samples of a cosine ramp at both ends before the filter. Zero, the
            default, is what the published models used; edge transients are then as large as the
            interior.
        observation: gives the sampling rate; an experiment gives its own.

    Raises:
        UserError: not 0 < lower < upper < sr / 2.
    """

    per_channel = True
    turns_with_sign = True

    def __init__(
        self,
        lower: float = 16,
        upper: float = 512,
        sr: float | None = None,
        order: int = 8,
        taper: int = 0,
        always_apply: bool = True,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        sr = observation.sample_rate if sr is None else sr
        check_band(type(self).__name__, lower, upper, sr)
        if order < 1 or taper < 0:
            raise UserError(
                f"BandPass: order = {order} must be positive and taper = {taper} not negative"
            )
        self.lower, self.upper, self.sr, self.order = lower, upper, sr, order
        self.taper = taper

    def transform_rows(self, x: Tensor) -> Tensor:
        operator = band_pass_operator(
            x.shape[-1], self.lower, self.upper, self.sr, self.order, x.device
        )
        # The ramp brings the ends to zero, so that the odd extension has nothing to ring with.
        if self.taper:
            x = x * cosine_taper(x.shape[-1], self.taper, x.device)
        return operator(x)

    def extra_repr(self) -> str:
        return f"{self.lower:g} to {self.upper:g} Hz, order {self.order}, {super().extra_repr()}"


def cosine_taper(length: int, ramp: int, device: torch.device) -> Tensor:
    """Return a window (length,) that rises over `ramp` samples, is one, and falls again."""
    if 2 * ramp > length:
        raise UserError(f"a taper of {ramp} samples at both ends does not fit into {length}")
    # sin^2 at the middles of the samples: the rise and the fall of two neighbours add up to one
    rise = torch.sin(torch.pi / 2 * (torch.arange(ramp, device=device) + 0.5) / ramp) ** 2
    return torch.cat([rise, torch.ones(length - 2 * ramp, device=device), rise.flip(0)])


class BandPass2(WaveTransform):
    """`BandPass` with a band for each channel.

    Args:
        bands: (lower, upper) in Hz, one a channel; None is 12 to 500 Hz for each.
        sr: sampling rate in Hz; None is that of the observation.
        order: order of the prototype.
        observation: gives sampling rate and number of detectors; an experiment gives its own.
    """

    per_channel = True
    turns_with_sign = True

    def __init__(
        self,
        bands: Sequence[Sequence[float]] | None = None,
        sr: float | None = None,
        order: int = 8,
        always_apply: bool = True,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        sr = observation.sample_rate if sr is None else sr
        bands = ((12, 500),) * observation.num_detectors if bands is None else bands
        self.filters = nn.ModuleList(BandPass(*band, sr=sr, order=order) for band in bands)

    def transform_rows(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.filters):
            raise UserError(f"BandPass2: {len(self.filters)} bands for {x.shape[1]} channels")
        # (batch, 1, time) each; slices keep the channel axis
        channels = [band(x[:, i : i + 1]) for i, band in enumerate(self.filters)]
        return torch.cat(channels, dim=1)


class BandPassTorch(WaveTransform):
    """Causal band-pass of one second-order section, at rest before the waveform.

    Centre f = sqrt(lower upper), Q = f / (upper - lower), unit gain at the centre (Bristow-Johnson,
    Audio EQ Cookbook, band-pass with constant 0 dB peak gain).

    Args:
        lower: in Hz, where the gain is about 1 / sqrt(2).
        upper: in Hz, likewise.
        sr: sampling rate in Hz; None is that of the observation.
        observation: gives the sampling rate; an experiment gives its own.
    """

    per_channel = True
    turns_with_sign = True

    def __init__(
        self,
        lower: float = 16,
        upper: float = 512,
        sr: float | None = None,
        always_apply: bool = True,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        sr = observation.sample_rate if sr is None else sr
        check_band("BandPassTorch", lower, upper, sr)
        self.lower, self.upper, self.sr = lower, upper, sr

    def transform_rows(self, x: Tensor) -> Tensor:
        return biquad_operator(x.shape[-1], self.lower, self.upper, self.sr, x.device)(x)


class SpectralDropout(WaveTransform):
    """Remove a band of frequencies, drawn for each row (and the same in all its detectors).

    What SpecAugment does to a spectrogram (Park et al. 2019, arXiv:1904.08779), done to the
    waveform; a network then cannot rely on one part of the chirp. The band's width and place are
    uniform; it is cut off sharply in the discrete Fourier transform.

    Args:
        max_width: of the band, as a share of all frequencies.
    """

    def __init__(self, max_width: float = 0.1, always_apply: bool = False, p: float = 0.5) -> None:
        super().__init__(always_apply, p)
        if not 0 < max_width < 1:
            raise UserError(f"SpectralDropout: max_width = {max_width}: expected 0 to 1")
        self.max_width = max_width

    def transform_rows(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft(x.float())  # (batch, detector, frequency)
            size = spectrum.shape[-1]
            draws = torch.rand(2, len(x), 1, 1, device=x.device)
            # A band of `width` bins, anywhere it fits; bins count by their centres.
            width = draws[0] * self.max_width * size
            first = draws[1] * (size - width)
            at = torch.arange(size, device=x.device) + 0.5
            keep = (at < first) | (at >= first + width)  # (batch, 1, frequency)
            return torch.fft.irfft(spectrum * keep, x.shape[-1]).to(x.dtype)

    def extra_repr(self) -> str:
        return f"max_width={self.max_width}, {super().extra_repr()}"
