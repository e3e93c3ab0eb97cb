"""Waveform transforms that filter: band-passes and whitening."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from physics.constants import DETECTORS, NUM_SAMPLES, SAMPLE_RATE, STRAIN_UNIT
from runtime.errors import UserError
from signal_transforms import linear_operators as filters
from signal_transforms.amplitude import nonzero, peak
from signal_transforms.base import WaveTransform


class BandPass(WaveTransform):
    """Butterworth band-pass without phase shift: forwards, then backwards.

    Equal to scipy's `sosfiltfilt` with an odd extension of 3 (2 order + 1) samples, within 1e-5 of
    the peak in float32. The operator is made at the first batch of each length (a second or two)
    and shared by all transforms of the same band.

    Args:
        lower: lower edge in Hz; the gain there, of both passes together, is one half.
        upper: upper edge in Hz.
        sr: sampling rate in Hz.
        order: order of the prototype; in effect it is doubled by the second pass.
        taper: length in samples of a cosine ramp at both ends before the filter. Zero, the
            default, is what the published models used; edge transients are then as large as the
            interior.

    Raises:
        UserError: not 0 < lower < upper < sr / 2.
    """

    per_channel = True

    def __init__(
        self,
        lower: float = 16,
        upper: float = 512,
        sr: float = SAMPLE_RATE,
        order: int = 8,
        taper: int = 0,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        filters.check_band(type(self).__name__, lower, upper, sr)
        if order < 1 or taper < 0:
            raise UserError(
                f"BandPass: order = {order} must be positive and taper = {taper} not negative"
            )
        self.lower, self.upper, self.sr, self.order = lower, upper, sr, order
        self.taper = taper

    def change(self, x: Tensor) -> Tensor:
        operator = filters.band_pass_operator(
            x.shape[-1], self.lower, self.upper, self.sr, self.order, x.device
        )
        if self.taper:
            x = x * cosine_taper(x.shape[-1], self.taper, x.device)
        return operator(x)

    def extra_repr(self) -> str:
        return f"{self.lower:g} to {self.upper:g} Hz, order {self.order}, {super().extra_repr()}"


def cosine_taper(length: int, ramp: int, device: torch.device) -> Tensor:
    """Return a window (length,) that rises over `ramp` samples, is one, and falls again."""
    if 2 * ramp > length:
        raise UserError(f"a taper of {ramp} samples at both ends does not fit into {length}")
    rise = torch.sin(torch.pi / 2 * (torch.arange(ramp, device=device) + 0.5) / ramp) ** 2
    return torch.cat([rise, torch.ones(length - 2 * ramp, device=device), rise.flip(0)])


class BandPass2(WaveTransform):
    """`BandPass` with a band for each channel.

    Args:
        bands: (lower, upper) in Hz, one a channel.
        sr: sampling rate in Hz.
        order: order of the prototype.
    """

    per_channel = True

    def __init__(
        self,
        bands: Sequence[Sequence[float]] = ((12, 500), (12, 500), (12, 500)),
        sr: float = SAMPLE_RATE,
        order: int = 8,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        self.filters = nn.ModuleList(BandPass(*band, sr=sr, order=order) for band in bands)

    def change(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.filters):
            raise UserError(f"BandPass2: {len(self.filters)} bands for {x.shape[1]} channels")
        channels = [band(x[:, i : i + 1]) for i, band in enumerate(self.filters)]
        return torch.cat(channels, dim=1)


class BandPassTorch(WaveTransform):
    """Causal band-pass of one second-order section, at rest before the waveform.

    Centre f = sqrt(lower upper), Q = f / (upper - lower), unit gain at the centre (Bristow-Johnson,
    Audio EQ Cookbook, band-pass with constant 0 dB peak gain).

    Args:
        lower: in Hz, where the gain is about 1 / sqrt(2).
        upper: in Hz, likewise.
        sr: sampling rate in Hz.
    """

    per_channel = True

    def __init__(
        self,
        lower: float = 16,
        upper: float = 512,
        sr: float = SAMPLE_RATE,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        filters.check_band("BandPassTorch", lower, upper, sr)
        self.lower, self.upper, self.sr = lower, upper, sr

    def change(self, x: Tensor) -> Tensor:
        return filters.biquad_operator(x.shape[-1], self.lower, self.upper, self.sr, x.device)(x)


class Whiten(WaveTransform):
    """Whiten exactly: x -> C^(-1/2) x, with C the covariance of the detector's noise.

    No window and no lost edge, which would cost the mergers near the end of the sample. Noise comes
    out with unit variance and uncorrelated. It takes raw strain and stands in place of `Normalize`,
    not after it. Computed in float32 whatever autocast and TF32 say; the matrix of a design curve
    is made once (some seconds) and kept on disk by `noise.whitening_matrix`.

    A `band` adds a zero-phase Butterworth band-pass after the whitening and `decimate` keeps every
    n-th sample of that, both folded into the same matrix: decimate=2 with band=(20, 400) costs no
    more than whitening alone and returns (batch, detector, time / 2). The variance then is the
    share of the band in sr / 2. Decimation without a band keeps what lies
    between 12 Hz and sr / (2 decimate), in which noise stays exactly white, with unit variance in
    each frequency (see `filters.folded`).

    Args:
        detectors: names of the design curves, one a channel.
        psds: instead of the design curves, one one-sided PSD a channel, in strain^2 / Hz, at the
            frequencies of `rfft` of at least twice as many samples as the waveform has.
        matrices: instead of either, one whitening matrix (time, time) a channel, in 1 / unit.
        sr: sampling rate in Hz.
        unit: strain that is scaled to one before the product, so that float32 does not underflow.
        band: (lower, upper) in Hz, or None for none.
        order: order of the band-pass.
        decimate: keep every n-th sample; a band must end at or below sr / (2 decimate).

    Raises:
        UserError: both PSDs and matrices are given, the band is none, decimation would alias, or
            the input's channels or length do not fit.
    """

    def __init__(
        self,
        detectors: Sequence[str] = DETECTORS,
        psds: Sequence[np.ndarray] | None = None,
        matrices: Sequence[np.ndarray] | None = None,
        sr: float = SAMPLE_RATE,
        unit: float = STRAIN_UNIT,
        band: Sequence[float] | None = None,
        order: int = 8,
        decimate: int = 1,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if psds is not None and matrices is not None:
            raise UserError("Whiten: give psds or matrices, not both")
        if band is not None:
            filters.check_band("Whiten", *band, sr)
        if decimate < 1 or (decimate > 1 and band is not None and band[1] > sr / 2 / decimate):
            raise UserError(
                f"Whiten: decimate = {decimate} needs a band that ends at or below "
                f"{sr / 2 / max(decimate, 1):g} Hz, or the rest folds over the signal"
            )
        if decimate > 1 and not always_apply:
            raise UserError("Whiten: decimate > 1 changes the length and needs always_apply=True")
        self.detectors = tuple(detectors)
        self.psds, self.matrices = psds, matrices
        self.sr, self.unit, self.order, self.decimate = sr, unit, order, decimate
        self.band = None if band is None else (float(band[0]), float(band[1]))
        self.own: dict[tuple[int, int, torch.device], filters.DenseMap] = {}

    def operator(self, channel: int, length: int, device: torch.device) -> filters.DenseMap:
        """Return the linear map of one channel, made at first use."""
        settings = (self.sr, self.band, self.order, self.decimate)
        if self.psds is None and self.matrices is None:
            return filters.design_whitening(self.detectors[channel], length, *settings, device)
        key = (channel, length, device)
        if key not in self.own:
            if self.matrices is not None:
                matrix = np.asarray(self.matrices[channel], dtype=np.float64)
            else:
                power = np.asarray(self.psds[channel], dtype=np.float64) / self.unit**2
                matrix = filters.covariance_root(power, length, self.sr)
            if matrix.shape != (length, length):
                raise UserError(
                    f"Whiten: a matrix of shape {matrix.shape} does not fit {length} samples"
                )
            self.own[key] = filters.dense_map(filters.folded(matrix, *settings), device)
        return self.own[key]

    def change(self, x: Tensor) -> Tensor:
        given = self.psds if self.psds is not None else self.matrices
        expected = len(self.detectors if given is None else given)
        if x.shape[1] != expected:
            raise UserError(f"Whiten: {x.shape[1]} channels, expected {expected}, one a detector")
        scaled = x.float() / self.unit
        maps = [self.operator(channel, x.shape[-1], x.device) for channel in range(expected)]
        # Neighbours of one map, as H1 and L1, are one product.
        groups = itertools.groupby(range(expected), key=lambda channel: id(maps[channel]))
        parts = []
        for _, channels in groups:
            chosen = list(channels)
            parts.append(maps[chosen[0]](scaled[:, chosen]))
        return torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        return f"{self.detectors}, band={self.band}, decimate={self.decimate}"


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

    def change(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft(x.float())  # (batch, detector, frequency)
            size = spectrum.shape[-1]
            draws = torch.rand(2, len(x), 1, 1, device=x.device)
            width = draws[0] * self.max_width * size
            first = draws[1] * (size - width)
            at = torch.arange(size, device=x.device) + 0.5
            keep = (at < first) | (at >= first + width)  # (batch, 1, frequency)
            return torch.fft.irfft(spectrum * keep, x.shape[-1]).to(x.dtype)

    def extra_repr(self) -> str:
        return f"max_width={self.max_width}, {super().extra_repr()}"


class WhitenTorch(WaveTransform):
    """Whiten by division in the frequency domain, under a window; `Whiten` is better.

    The periodic Hann window takes away most of the last tenth of a second, where the mergers end.
    The spectrum is divided by the root of a PSD that is given, or else averaged over the row's own
    overlapping segments (Welch, IEEE Transactions on Audio 15, 70, 1967). White noise comes out
    with unit variance on average.

    Args:
        signal_len: number of samples; None for any.
        psds: one-sided PSDs, one a channel, in strain^2 / Hz, on an even grid from 0 to sr / 2.
        sr: sampling rate in Hz.
        segments: number of segments, half overlapping, that the PSD is averaged over.
    """

    per_channel = True

    def __init__(
        self,
        signal_len: int | None = NUM_SAMPLES,
        psds: Sequence[np.ndarray] | None = None,
        sr: float = SAMPLE_RATE,
        segments: int = 15,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if segments < 1:
            raise UserError(f"WhitenTorch: segments = {segments} must be at least 1")
        self.signal_len, self.psds, self.sr, self.segments = signal_len, psds, sr, segments

    def change(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        if self.signal_len is not None and length != self.signal_len:
            raise UserError(
                f"WhitenTorch: {length} samples, expected signal_len = {self.signal_len}"
            )
        if self.psds is not None and len(self.psds) != x.shape[1]:
            raise UserError(f"WhitenTorch: {len(self.psds)} PSDs for {x.shape[1]} channels")
        with torch.autocast(x.device.type, enabled=False):
            scale = nonzero(peak(x.float()))
            unit = x.float() / scale  # strain would underflow when squared
            if self.psds is None:
                amplitude = filters.welch_amplitude(unit, self.segments)
            else:
                amplitude = filters.interpolated_amplitude(self.psds, length, self.sr, x.device)
                amplitude = amplitude / scale
            window = torch.hann_window(length, device=x.device)
            window = window / window.square().mean().sqrt()
            spectrum = torch.fft.rfft(unit * window) / nonzero(amplitude)
            return torch.fft.irfft(spectrum, length)
