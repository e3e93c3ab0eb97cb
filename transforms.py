"""Waveform transforms: batched, pure, random per row, on the device of their input.

Every transform takes strain (batch, detector, time) and returns a new tensor of the same shape
(except `Whiten(decimate=...)`). `p` is the probability with which a row is changed; each row draws
on its own, and each row and detector where a class says "per channel". `always_apply` changes every
row without a draw. Draws come from torch's default generator of the input's device. A transform
acts in the same way in training and evaluation: which ones run is the caller's choice.

Transforms of spectrogram images are in `image_transforms.py`, the filters' mathematics in
`filters.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

import filters
from utils import UserError


def check_waveforms(name: str, x: Tensor) -> None:
    """Raise a UserError unless x is a batch of waveforms (batch, detector, time)."""
    if x.ndim != 3 or not x.is_floating_point():
        raise UserError(
            f"{name} takes float waveforms (batch, detector, time) and was given "
            f"{x.dtype} of shape {tuple(x.shape)}"
        )


def check_probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise UserError(f"{name}: p = {p!r} is not a probability: give a number from 0 to 1")
    return float(p)


class WaveTransform(nn.Module):
    """Base of the waveform transforms: who is changed, and the check of the input.

    A subclass gives `change`, which returns the changed batch and leaves its input as it is.

    Args:
        always_apply: change every row.
        p: otherwise, the probability of a change; each row draws on its own.
    """

    per_channel = False  # whether each detector of a row draws on its own as well

    def __init__(self, always_apply: bool = False, p: float = 0.5) -> None:
        super().__init__()
        self.always_apply = always_apply
        self.p = check_probability(type(self).__name__, p)

    def change(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        check_waveforms(type(self).__name__, x)
        if self.always_apply:
            return self.change(x)
        shape = (x.shape[0], x.shape[1] if self.per_channel else 1, 1)
        chosen = torch.rand(shape, device=x.device) < self.p
        return torch.where(chosen, self.change(x), x)

    def extra_repr(self) -> str:
        return "always" if self.always_apply else f"p={self.p:g}"


class Compose(nn.Module):
    """Apply transforms one after another.

    Args:
        transforms: modules in order, one module, or None for none.
    """

    def __init__(self, transforms: Sequence[nn.Module] | nn.Module | None = None) -> None:
        super().__init__()
        if transforms is None:
            transforms = []
        elif isinstance(transforms, nn.Module):
            transforms = [transforms]
        self.transforms = nn.ModuleList(transforms)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.transforms)

    def __len__(self) -> int:
        return len(self.transforms)

    def forward(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x


# --- scale ---------------------------------------------------------------------------------------


class Normalize(WaveTransform):
    """Divide each detector by its factor.

    Args:
        factors: one a detector, in strain; those of the competition are its largest amplitudes,
            4.61e-20, 4.23e-20 and 1.11e-20.
    """

    def __init__(
        self, factors: Sequence[float] = (1.0, 1.0, 1.0), always_apply: bool = True, p: float = 0.5
    ) -> None:
        super().__init__(always_apply, p)
        if any(factor == 0 for factor in factors):
            raise UserError(f"Normalize: factors = {list(factors)} must not hold a zero")
        column = torch.tensor(factors, dtype=torch.float32)[:, None]  # (detector, 1)
        self.register_buffer("factors", column, persistent=False)

    def change(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.factors):
            raise UserError(
                f"Normalize: {len(self.factors)} factors for {x.shape[1]} channels: "
                "give one factor a channel"
            )
        return x / self.factors.to(x.device)


class FlipWave(WaveTransform):
    """Turn the sign of a sample, all detectors together: the source rotated by a right angle."""

    def change(self, x: Tensor) -> Tensor:
        return -x


# --- noise ---------------------------------------------------------------------------------------


def peak(x: Tensor) -> Tensor:
    """Return the largest absolute value of each row, (..., time) to (..., 1)."""
    return x.abs().amax(dim=-1, keepdim=True)


def add_noise(x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Add noise, scaled so that the peak of x stands `level` dB above the noise's peak.

    The ratio is one of largest absolute values, not of powers (20 dB of it are about 28.7 dB in
    RMS for a sine in white noise). No squares: strain of 1e-24 would underflow. A silent channel
    gets none.

    Args:
        x: (batch, detector, time).
        noise: of a shape that broadcasts with x.
        level: (batch, detector, 1) in dB.
    """
    return torch.addcmul(x, noise, peak(x) * 10 ** (-level / 20) / peak(noise))


def check_snr(name: str, min_snr: float, max_snr: float) -> None:
    if min_snr > max_snr:
        raise UserError(f"{name}: min_snr = {min_snr} is above max_snr = {max_snr}")


class GaussianNoiseSNR(WaveTransform):
    """Add white Gaussian noise at a peak-based SNR, per channel.

    Args:
        min_snr: least level in dB, drawn uniformly for each row and detector.
        max_snr: largest level in dB.
    """

    per_channel = True

    def __init__(
        self, min_snr: float = 5.0, max_snr: float = 20.0, always_apply: bool = False,
        p: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(always_apply, p)
        check_snr(type(self).__name__, min_snr, max_snr)
        self.min_snr, self.max_snr = min_snr, max_snr

    def change(self, x: Tensor) -> Tensor:
        level = torch.empty(*x.shape[:2], 1, device=x.device).uniform_(self.min_snr, self.max_snr)
        return add_noise(x, torch.randn_like(x), level)

    def extra_repr(self) -> str:
        return f"{self.min_snr:g} to {self.max_snr:g} dB, {super().extra_repr()}"


# --- filters -------------------------------------------------------------------------------------


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
        self, lower: float = 16, upper: float = 512, sr: float = 2048, order: int = 8,
        taper: int = 0, always_apply: bool = True, p: float = 0.5,
    ) -> None:  # fmt: skip
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


class Whiten(WaveTransform):
    """Whiten exactly: x -> C^(-1/2) x, with C the covariance of the detector's noise.

    No window and no lost edge, which would cost the mergers near the end of the sample. Noise comes
    out with unit variance and uncorrelated. It takes raw strain and stands in place of `Normalize`,
    not after it. Computed in float32 whatever autocast and TF32 say; the matrix of a design curve
    is made once (some seconds) and kept on disk by `noise.whitening_matrix`.

    A `band` adds a zero-phase Butterworth band-pass after the whitening and `decimate` keeps every
    n-th sample of that, both folded into the same matrix: decimate=2 with band=(20, 400) costs no
    more than whitening alone and returns (batch, detector, time / 2). The variance then is the
    share of the band in sr / 2.

    Args:
        detectors: names of the design curves, one a channel.
        psds: instead of the design curves, one one-sided PSD a channel, in strain^2 / Hz, at the
            frequencies of `rfft` of at least twice as many samples as the waveform has.
        matrices: instead of either, one whitening matrix (time, time) a channel, in 1 / unit.
        sr: sampling rate in Hz.
        unit: strain that is scaled to one before the product, so that float32 does not underflow.
        band: (lower, upper) in Hz, or None for none.
        order: order of the band-pass.
        decimate: keep every n-th sample; needs a band that ends below sr / (2 decimate).

    Raises:
        UserError: both PSDs and matrices are given, the band is none, decimation would alias, or
            the input's channels or length do not fit.
    """

    def __init__(
        self, detectors: Sequence[str] = ("H1", "L1", "V1"),
        psds: Sequence[np.ndarray] | None = None, matrices: Sequence[np.ndarray] | None = None,
        sr: float = 2048, unit: float = 1e-21, band: Sequence[float] | None = None, order: int = 8,
        decimate: int = 1, always_apply: bool = True, p: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(always_apply, p)
        if psds is not None and matrices is not None:
            raise UserError("Whiten: give psds or matrices, not both")
        if band is not None:
            filters.check_band("Whiten", *band, sr)
        if decimate < 1 or (decimate > 1 and (band is None or band[1] > sr / 2 / decimate)):
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
        return torch.stack([maps[i](scaled[:, i]) for i in range(expected)], dim=1)

    def extra_repr(self) -> str:
        return f"{self.detectors}, band={self.band}, decimate={self.decimate}"
