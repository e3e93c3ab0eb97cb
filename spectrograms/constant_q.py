"""The constant-Q transform as a front-end.

Kernel k is a windowed complex tone of frequency f_k = fmin 2^(k / bins_per_octave) with Q periods,
Q = filter_scale / (2^(1 / bins_per_octave) - 1): low rows have long kernels, high rows short ones
(Brown, J. Acoust. Soc. Am. 89, 425, 1991).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.checks import check_positive, check_waveforms
from signal_transforms.per_sample_operations import output_for_empty_batch
from spectrograms import filterbank

DIRECT_HOP = 16  # samples between frames from which a CQT is faster by convolution


class CQT(nn.Module):
    """Constant-Q transform with the kernels of nnAudio's `CQT1992v2`, as magnitudes.

    Equal to that layer (Hann window, kernels of unit L1 norm, reflected ends, magnitudes times the
    square root of each kernel's length), computed in the frequency domain or, at a large stride,
    with kernels cut to their own lengths. Row 0 is the *lowest*
    frequency. `fmax`, where given, overrides `n_bins`: ceil(bins_per_octave log2(fmax / fmin)).

    Args:
        sr: sampling rate in Hz; None is that of the observation.
        hop_length: samples between frames.
        fmin: frequency of row 0 in Hz.
        fmax: upper limit in Hz, or None.
        n_bins: number of rows where fmax is None.
        bins_per_octave: rows in an octave.
        filter_scale: scales the kernels' length.
        observation: gives the sampling rate; an experiment gives its own.

    Raises:
        UserError: an argument out of its range, or, in the forward pass, a waveform too short for
            the reflection.
    """

    def __init__(
        self,
        sr: float | None = None,
        hop_length: int = 512,
        fmin: float = 32.7,
        fmax: float | None = None,
        n_bins: int = 84,
        bins_per_octave: int = 12,
        filter_scale: float = 1.0,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        sr = observation.sample_rate if sr is None else sr
        self.fs = sr
        check_positive("CQT", sr=sr, hop_length=hop_length, fmin=fmin, n_bins=n_bins)
        top = fmax if fmax is not None else fmin * 2 ** ((n_bins - 1) / bins_per_octave)
        if not fmin < top <= sr / 2:
            raise UserError(
                f"CQT: rows from {fmin:g} to {top:g} Hz are not possible: expected fmin < fmax <= "
                f"{sr / 2:g}, half the sampling rate"
            )
        from nnAudio.features.cqt import CQT1992v2

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="If fmax is given")  # as said above
            layer = CQT1992v2(
                sr=sr,
                hop_length=hop_length,
                fmin=fmin,
                fmax=fmax,
                n_bins=n_bins,
                bins_per_octave=bins_per_octave,
                filter_scale=filter_scale,
                verbose=False,
            )
        kernels = torch.complex(
            layer.cqt_kernels_real.double(), layer.cqt_kernels_imag.double()
        )  # (row, 1, kernel)
        self.kernels = kernels[:, 0] * layer.lenghts.double().sqrt()[:, None]  # (row, kernel)
        self.hop_length = hop_length
        rows = range(len(self.kernels))
        self.row_frequencies = [fmin * 2 ** (row / bins_per_octave) for row in rows]  # Hz
        self.fixed: dict[tuple, Any] = {}

    @property
    def ignores_sign(self) -> bool:
        """Whether -x has the image of x, bit for bit, as magnitudes have; not for a child."""
        return type(self) is CQT

    def made_once(self, key: tuple, make: Callable[[], Any]) -> Any:
        """Return the bank of a key (length, device and precision); `make` computes it once."""
        if key not in self.fixed:
            with torch.inference_mode(False), torch.no_grad():
                self.fixed[key] = make()
        return self.fixed[key]

    def bank_and_plan(
        self, size: int, x: Tensor
    ) -> tuple[Tensor, tuple[filterbank.FilterGroup, ...]]:
        """Return the bank's transforms at `size` frequencies, and where they matter."""
        # P[f, w] = sum_k kernel_f[k] exp(+i w k), k = 0 .. kernel - 1: an inverse FFT without its
        # factor 1 / size
        bank = torch.fft.ifft(self.kernels, size, norm="forward").to(x.device)
        plan = filterbank.banded_plan(bank, self.hop_length)
        return bank if x.dtype == torch.float64 else bank.cfloat(), plan

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, detector, row, time // hop + 1)."""
        check_waveforms("CQT", x)
        if x.shape[0] == 0:
            return output_for_empty_batch(self, x)
        width = self.kernels.shape[1]
        if x.shape[-1] <= width // 2:
            raise UserError(
                f"CQT: the longest kernel has {width} samples and the waveform {x.shape[-1]}; it "
                f"must have more than {width // 2} to be reflected: raise fmin"
            )
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
            # Frame m is centred on sample m hop: half a kernel is reflected at both ends.
            padded = nn.functional.pad(x, (width // 2, width // 2), mode="reflect")
            frames = (padded.shape[-1] - width) // self.hop_length + 1
            # With few frames, convolving each kernel at its own length is less work than spectra.
            if self.hop_length >= DIRECT_HOP:
                groups = self.made_once(
                    (x.device, x.dtype), lambda: filterbank.kernels_by_length(self.kernels, x)
                )
                return filterbank.direct_magnitude(padded, groups, self.hop_length, frames)
            size = filterbank.transform_length(padded.shape[-1], self.hop_length)
            bank, plan = self.made_once(
                (size, x.device, x.dtype), lambda: self.bank_and_plan(size, x)
            )
            return filterbank.correlation_magnitude(padded, bank, plan, self.hop_length, frames)
