"""Whitening transforms: exact with `Whiten`, or by division in the frequency domain."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from physics.constants import STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.noise import check_matrix_size
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.base import WaveTransform
from signal_transforms.checks import check_band
from signal_transforms.per_sample_operations import peak_amplitude, replace_zeros_by_one
from signal_transforms.whitening_operators import (
    LOWEST_KEPT,
    DenseMap,
    band_pass_and_decimate_rows,
    covariance_root,
    design_whitening,
    interpolated_amplitude,
    make_dense_map,
    welch_amplitude,
)


class Whiten(WaveTransform):
    """Whiten exactly: x -> C^(-1/2) x, with C the covariance of the detector's noise.

    No window and no lost edge, which would cost the mergers near the end of the sample. Noise comes
    out with unit variance and uncorrelated. It takes raw strain and stands in place of `Normalize`,
    not after it. Computed in float32 whatever autocast and TF32 say; the matrix of a design curve
    is made once (some seconds) and kept on disk by `noise.whitening_matrix`.

    A `band` adds a zero-phase Butterworth band-pass after the whitening and `decimate` keeps every
    n-th sample of that, both folded into the same matrix: decimate=2 with band=(20, 400) costs no
    more than whitening alone and returns (batch, detector, time / 2). The variance then is the
    share of the band in sr / 2. Decimation without a band keeps what lies between 1.2 times the
    lowest frequency of the noise (12 Hz for 10 Hz) and sr / (2 decimate), in which noise stays
    exactly white, with unit variance in each frequency (see `band_pass_and_decimate_rows`).

    Args:
        psds: instead of the observation's curves, one one-sided PSD a channel, in strain^2 / Hz, at
            the frequencies of `rfft` of at least twice as many samples as the waveform has.
        matrices: instead of either, one whitening matrix (time, time) a channel, in 1 / unit.
        sr: sampling rate in Hz; None is that of the observation.
        unit: strain that is scaled to one before the product, so that float32 does not underflow.
        band: (lower, upper) in Hz, or None for none.
        order: order of the band-pass.
        decimate: keep every n-th sample; a band must end at or below sr / (2 decimate).
        observation: whose noise curves these are, one a channel; an experiment gives its own.

    Raises:
        UserError: both PSDs and matrices are given, the band is none, decimation would alias, the
            observation's window is too long for a matrix, or the input's channels or length do not
            fit.
    """

    turns_with_sign = True

    def __init__(
        self,
        psds: Sequence[np.ndarray] | None = None,
        matrices: Sequence[np.ndarray] | None = None,
        sr: float | None = None,
        unit: float = STRAIN_UNIT,
        band: Sequence[float] | None = None,
        order: int = 8,
        decimate: int = 1,
        always_apply: bool = True,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        sr = observation.sample_rate if sr is None else sr
        if psds is not None and matrices is not None:
            raise UserError("Whiten: give psds or matrices, not both")
        if psds is None and matrices is None:
            # Here rather than with the first batch, which may come after long preparations.
            check_matrix_size(observation.num_samples)
        if band is not None:
            check_band("Whiten", *band, sr)
        if decimate < 1 or (decimate > 1 and band is not None and band[1] > sr / 2 / decimate):
            raise UserError(
                f"Whiten: decimate = {decimate} needs a band that ends at or below "
                f"{sr / 2 / max(decimate, 1):g} Hz, or the rest folds over the signal"
            )
        if decimate > 1 and not always_apply:
            raise UserError("Whiten: decimate > 1 changes the length and needs always_apply=True")
        self.observation, self.psds, self.matrices = observation, psds, matrices
        self.lowest = LOWEST_KEPT * observation.min_frequency  # Hz, kept by a decimation
        self.sr, self.unit, self.order, self.decimate = sr, unit, order, decimate
        self.band = None if band is None else (float(band[0]), float(band[1]))
        self.own: dict[tuple[int, int, torch.device], DenseMap] = {}

    def operator(self, channel: int, length: int, device: torch.device) -> DenseMap:
        """Return the linear map of one channel, made at first use."""
        settings = (self.band, self.order, self.decimate)
        if self.psds is None and self.matrices is None:
            curve = self.observation.noise_curve(channel)
            noise = DetectorNoise(curve, float(self.sr), self.observation.min_frequency)
            return design_whitening(noise, length, *settings, device)
        key = (channel, length, device)
        if key not in self.own:
            if self.matrices is not None:
                matrix = np.asarray(self.matrices[channel], dtype=np.float64)
            else:
                power = np.asarray(self.psds[channel], dtype=np.float64) / self.unit**2
                matrix = covariance_root(power, length, self.sr)
            if matrix.shape != (length, length):
                raise UserError(
                    f"Whiten: a matrix of shape {matrix.shape} does not fit {length} samples"
                )
            rows = band_pass_and_decimate_rows(matrix, self.sr, self.lowest, *settings)
            self.own[key] = make_dense_map(rows, device)
        return self.own[key]

    def transform_rows(self, x: Tensor) -> Tensor:
        given = self.psds if self.psds is not None else self.matrices
        expected = self.observation.num_detectors if given is None else len(given)
        if x.shape[1] != expected:
            raise UserError(f"Whiten: {x.shape[1]} channels, expected {expected}, one a detector")
        scaled = x.float() / self.unit
        maps = [self.operator(channel, x.shape[-1], x.device) for channel in range(expected)]
        # Neighbouring channels that share a map, as H1 and L1 do, are one product with twice the
        # rows. They are taken by a slice: a list as an index is copied to the device every time.
        parts = []
        for _, group in itertools.groupby(range(expected), key=lambda channel: id(maps[channel])):
            channels = list(group)
            first, stop = channels[0], channels[-1] + 1
            parts.append(maps[first](scaled[:, first:stop]))  # (batch, stop - first, time)
        return torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        return f"{self.observation.detectors}, band={self.band}, decimate={self.decimate}"


class WhitenTorch(WaveTransform):
    """Whiten by division in the frequency domain, under a window; `Whiten` is better.

    The periodic Hann window suppresses most of the last tenth of a second, where the mergers end.
    The spectrum is divided by the root of a PSD that is given, or else averaged over the row's own
    overlapping segments (Welch, IEEE Transactions on Audio 15, 70, 1967). White noise comes out
    with unit variance on average.

    Args:
        signal_len: number of samples that is expected: "window" for that of the observation's
            window; None takes any.
        psds: one-sided PSDs, one a channel, in strain^2 / Hz, on an even grid from 0 to sr / 2.
        sr: sampling rate in Hz; None is that of the observation.
        segments: number of segments, half overlapping, that the PSD is averaged over.
        observation: gives the sampling rate; an experiment gives its own.
    """

    per_channel = True
    turns_with_sign = True

    def __init__(
        self,
        signal_len: int | str | None = "window",
        psds: Sequence[np.ndarray] | None = None,
        sr: float | None = None,
        segments: int = 15,
        always_apply: bool = True,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        sr = observation.sample_rate if sr is None else sr
        if segments < 1:
            raise UserError(f"WhitenTorch: segments = {segments} must be at least 1")
        if signal_len == "window":
            signal_len = observation.num_samples
        self.signal_len, self.psds, self.sr, self.segments = signal_len, psds, sr, segments
        self.amplitudes: dict[tuple[int, torch.device], Tensor] = {}  # of psds, made at first use

    def transform_rows(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        if self.signal_len is not None and length != self.signal_len:
            raise UserError(
                f"WhitenTorch: {length} samples, expected signal_len = {self.signal_len}"
            )
        if self.psds is not None and len(self.psds) != x.shape[1]:
            raise UserError(f"WhitenTorch: {len(self.psds)} PSDs for {x.shape[1]} channels")
        with torch.autocast(x.device.type, enabled=False):
            scale = replace_zeros_by_one(peak_amplitude(x.float()))
            unit = x.float() / scale  # strain would underflow when squared
            if self.psds is None:
                amplitude = welch_amplitude(unit, self.segments)
            else:
                key = (length, x.device)
                if key not in self.amplitudes:
                    with torch.inference_mode(False):  # may later serve where gradients are wanted
                        self.amplitudes[key] = interpolated_amplitude(
                            self.psds, length, self.sr, x.device
                        )
                amplitude = self.amplitudes[key] / scale  # (batch, channel, frequency)
            window = torch.hann_window(length, device=x.device)
            # unit mean square: white noise keeps its variance, averaged over the waveform
            window = window / window.square().mean().sqrt()
            # A bin without power is left as it is; it holds nothing to whiten.
            spectrum = torch.fft.rfft(unit * window) / replace_zeros_by_one(amplitude)
            return torch.fft.irfft(spectrum, length)
