"""Continuous wavelet transforms as front-ends: complex Morlet and Ricker wavelets.

A row of the image is |sum_k x[m stride + k] kernel_s[k]|, a cross-correlation with the wavelet of
scale s. The kernels are fixed, so their transforms (the bank) are computed once, in float64, at the
first batch of a length. They are kept outside the state dict, so that checkpoints stay small; only
a trained width or trained filters are parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.checks import check_positive, check_waveforms
from signal_transforms.per_sample_operations import output_for_empty_batch
from spectrograms import filterbank
from spectrograms.magnitude_slope import magnitude_of_number


def wavelet_scales(fs: float, lower_freq: float, upper_freq: float, n_scales: int) -> list[float]:
    """Return the periods in seconds of a geometric row of frequencies, highest frequency first.

    Raises:
        UserError: not 0 < lower < upper <= fs / 2, or fewer than two scales.
    """
    if not 0 < lower_freq < upper_freq <= fs / 2:
        raise UserError(
            f"a wavelet transform from {lower_freq} to {upper_freq} Hz is not possible: expected "
            f"0 < lower_freq < upper_freq <= {fs / 2:g}, half the sampling rate"
        )
    if n_scales < 2:
        raise UserError(f"n_scales = {n_scales}: a wavelet transform needs at least two")
    ratio = upper_freq / lower_freq
    return [ratio ** (i / (n_scales - 1)) / upper_freq for i in range(n_scales)]


def half_length(seconds: float, fs: float) -> int:
    """Return the samples in a kernel's half; 767.99999 from rounding counts as 768."""
    return math.floor(seconds * fs + 1e-6)


def check_crop(name: str, crop: int, frames: int) -> int:
    """Return the frames to cut from either end.

    Raises:
        UserError: none would be left.
    """
    if 2 * crop >= frames:
        raise UserError(f"{name}: border_crop leaves nothing of {frames} frames: make it smaller")
    return crop


class ComplexMorletCWT(nn.Module):
    """Continuous wavelet transform with complex Morlet wavelets, as magnitudes.

    Row i has the nominal frequency 1 / s_i, geometric from `upper_freq` (row 0) down to
    `lower_freq`. Its kernel on t = k / fs, k = -h .. h, is

        exp(-(t/s)^2 / w) exp(2 pi i t/s) / (sqrt(pi w) s fs / 2),

    so that a unit sine at a row's frequency gives magnitude one. w sets the envelope: sigma of time
    s sqrt(w/2), of frequency f / (pi sqrt(2 w)). All rows share h = floor(size_factor s_max
    sqrt(4.5 w) fs), where the longest envelope has fallen to exp(-4.5).

    The result is the cross-correlation with these sampled, truncated kernels, zeros beyond both
    ends of the waveform, at every `stride`-th sample; it is computed in the frequency domain (see
    `filterbank`) from the transforms of these very kernels, not from the closed form of the endless
    wavelet, which the cut at exp(-4.5) is 1e-3 off. What they do at the ends of the range is
    therefore that of the direct convolution:

    * in the lowest octave the cut at exp(-4.5), 1.1 % of the envelope, leaves side lobes, so that a
      row sees about 1e-3 of what lies several bandwidths off; `size_factor` widens the support;
    * near fs / 2 the sampled kernel folds over. At fs / 2 itself its sine part vanishes, the row
      answers with |cos phase| instead of a constant magnitude, and it counts both signs of
      frequency.

    Args:
        wavelet_width: w.
        fs: sampling rate in Hz; None is that of the observation.
        lower_freq: frequency of the last row in Hz.
        upper_freq: frequency of row 0 in Hz, at most fs / 2.
        n_scales: number of rows.
        size_factor: scales the kernels' length.
        trainable_width: make w a parameter; the kernels are rebuilt from it in every forward pass,
            with the length of the initial w. w is held at or above a hundredth of its first value.
        trainable_filter: make the kernels themselves parameters (2, n_scales, 2 h + 1).
        border_crop: samples, in time steps of the input, to cut from either end of the output.
        stride: samples between frames.
        observation: gives the sampling rate; an experiment gives its own.

    Raises:
        UserError: an argument out of its range, or both trainable options at once.
    """

    def __init__(
        self,
        wavelet_width: float,
        fs: float | None,
        lower_freq: float,
        upper_freq: float,
        n_scales: int,
        size_factor: float = 1.0,
        trainable_width: bool = False,
        trainable_filter: bool = False,
        border_crop: int = 0,
        stride: int = 1,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        fs = observation.sample_rate if fs is None else fs
        check_positive(
            "ComplexMorletCWT",
            wavelet_width=wavelet_width,
            fs=fs,
            size_factor=size_factor,
            stride=stride,
        )
        if trainable_width and trainable_filter:
            raise UserError(
                "ComplexMorletCWT: trainable_width has no effect on trainable filters: choose one"
            )
        if border_crop < 0:
            raise UserError(f"ComplexMorletCWT: border_crop = {border_crop} is negative")
        self.fs, self.stride, self.border_crop = fs, stride, border_crop
        self.scales = wavelet_scales(fs, lower_freq, upper_freq, n_scales)
        self.initial_width = float(wavelet_width)
        self.half = half_length(size_factor * math.sqrt(4.5 * wavelet_width) / lower_freq, fs)
        self.trainable_width, self.trainable_filter = trainable_width, trainable_filter
        # Made at first use and kept by device, not as buffers: `module.float()` would round them.
        self.fixed: dict[tuple, tuple[Tensor, tuple[filterbank.FilterGroup, ...]]] = {}
        self.grids: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if trainable_width:
            self.wavelet_width = nn.Parameter(torch.tensor(self.initial_width))
        if trainable_filter:
            upper_half = self.half_kernels(torch.tensor(self.initial_width).double())
            kernels = torch.cat([upper_half.conj().flip(1)[:, :-1], upper_half], dim=1)
            self.filters = nn.Parameter(torch.view_as_real(kernels).permute(2, 0, 1).float())

    @property
    def ignores_sign(self) -> bool:
        """Whether -x has the image of x, bit for bit, as magnitudes have; not for a child."""
        return type(self) is ComplexMorletCWT

    @property
    def row_frequencies(self) -> list[float]:
        """The nominal frequency of each row in Hz, row 0 first."""
        return [1 / scale for scale in self.scales]

    def scales_and_times(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return s (n_scales, 1) in seconds and u = t / s (n_scales, h + 1), float64.

        With a trainable width they are needed in every step; copied each time, they would make the
        host wait for the GPU.
        """
        if device not in self.grids:
            with torch.inference_mode(False):
                scales = torch.tensor(self.scales, dtype=torch.float64, device=device)[:, None]
                k = torch.arange(self.half + 1, dtype=torch.float64, device=device)
                self.grids[device] = scales, k / self.fs / scales
        return self.grids[device]

    def half_kernels(self, width: Tensor) -> Tensor:
        """Return the kernels at k = 0 .. h, (n_scales, h + 1) complex128; the rest mirrors it."""
        scales, u = self.scales_and_times(width.device)
        # The kernel of the class's docstring at t = k / fs >= 0; conj(kernel[k]) = kernel[-k].
        # exp(-u^2 / w) exp(2 pi i u) / (sqrt(pi w) s fs / 2), with u = t / s
        envelope = torch.exp(-(u**2) / width) / (
            torch.sqrt(torch.pi * width) * scales * self.fs / 2
        )
        return torch.polar(envelope, 2 * torch.pi * u)

    def slope_bank(self, size: int) -> Tensor:
        """Return the derivative of the bank by a trained width, (n_scales, size) float64.

        d/dw log kernel = (t/s)^2 / w^2 - 1 / (2 w), with the length of the kernels held.
        """
        width = self.held_width()
        _, u = self.scales_and_times(width.device)
        kernels = self.half_kernels(width) * ((u / width).square() - 0.5 / width)
        return torch.fft.hfft(kernels, size)

    def held_width(self) -> Tensor:
        """Return the trained width, (), float64, at or above a hundredth of its first value."""
        return self.wavelet_width.double().clamp_min(self.initial_width / 100)

    def bank(self, size: int, device: torch.device) -> Tensor:
        """Return the transforms of the kernels at `size` frequencies.

        (n_scales, size): real float64, since the kernels are Hermitian; complex64 for trainable
        filters, which need not stay so.
        """
        if self.trainable_filter:
            # sum_k kernel[k] exp(+i w k), with k from -h to h wrapped around
            kernels = torch.complex(self.filters[0], self.filters[1])  # (n_scales, 2 h + 1)
            padded = nn.functional.pad(kernels, (0, size - kernels.shape[1]))  # (n_scales, size)
            return torch.fft.ifft(padded.roll(-self.half, dims=1), norm="forward").to(device)
        if self.trainable_width:
            width = self.held_width()
        else:
            width = torch.tensor(self.initial_width, dtype=torch.float64, device=device)
        # The transform of a Hermitian kernel is real, and hfft computes it from k = 0 .. h alone:
        # hfft(a)[w] = sum_k conj(a[k]) exp(+i w k), with k over both halves. This is the bank of
        # the conjugate kernel, which has the same magnitude for real x and its peak at positive
        # frequencies. Where x needs a gradient as well, a trained width gets its own by autograd:
        # the bank's gradient from `filterbank.CorrelationMagnitude`, back through hfft and the
        # envelope's derivative. Otherwise `magnitude_slope` forms it directly.
        return torch.fft.hfft(self.half_kernels(width), size)

    def bank_and_plan(
        self, length: int, x: Tensor
    ) -> tuple[Tensor, tuple[filterbank.FilterGroup, ...]]:
        # nothing of the waveform's `length` samples and h zeros before or after it may wrap around
        size = filterbank.transform_length(max(length + self.half, 2 * self.half + 2), self.stride)
        size += size % 2 * self.stride  # hfft is written for an even size
        if self.trainable_width or self.trainable_filter:
            bank = self.bank(size, x.device)
            if x.device.type == "cpu":
                return bank, filterbank.banded_plan(bank.detach(), self.stride)
            # Asking a GPU where its bank is negligible would make the host wait in every step.
            return bank, filterbank.whole_plan(len(bank), size, self.stride)
        key = (size, x.device, x.dtype == torch.float64)
        if key not in self.fixed:
            with torch.inference_mode(False), torch.no_grad():
                bank = self.bank(size, x.device)
                plan = filterbank.banded_plan(bank, self.stride)
                self.fixed[key] = (bank if x.dtype == torch.float64 else bank.float(), plan)
        return self.fixed[key]

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, detector, n_scales, frame).

        There are floor((time - 1) / stride) + 1 frames, less floor(border_crop / stride) cut from
        either end.
        """
        check_waveforms("ComplexMorletCWT", x)
        if x.shape[0] == 0:
            return output_for_empty_batch(self, x)
        frames = (x.shape[-1] - 1) // self.stride + 1
        crop = check_crop("ComplexMorletCWT", self.border_crop // self.stride, frames)
        with torch.autocast(x.device.type, enabled=False):
            image = self.image(x, frames)
        return image[..., crop : frames - crop]

    def image(self, x: Tensor, frames: int) -> Tensor:
        """Return all frames: (batch, detector, time) -> (batch, detector, n_scales, frames)."""
        learns_width = self.trainable_width and self.wavelet_width.requires_grad
        if learns_width and torch.is_grad_enabled() and not x.requires_grad:
            with torch.no_grad():
                bank, plan = self.bank_and_plan(x.shape[-1], x)
                slopes = self.slope_bank(bank.shape[1])
            return magnitude_of_number(
                self.held_width(), x, bank, slopes, plan, self.stride, frames
            )
        bank, plan = self.bank_and_plan(x.shape[-1], x)
        return filterbank.correlation_magnitude(x, bank, plan, self.stride, frames)

    def extra_repr(self) -> str:
        return (
            f"{1 / self.scales[-1]:g} to {1 / self.scales[0]:g} Hz, {len(self.scales)} rows, "
            f"width={self.initial_width:g}, stride={self.stride}"
        )


class RickerCWT(nn.Module):
    """Continuous wavelet transform with Ricker wavelets (Mexican hats), signed.

    The kernel is (1 - (t/s)^2) exp(-(t/s)^2 / 2) with s = sqrt(2) / (2 pi f) = 0.2251 / f, which
    puts the peak of its response at the nominal frequency f; it is scaled so that a unit sine of
    that frequency gives an amplitude of one, and reaches to 6 s, where 5e-7 of it are left. Rows
    are geometric, highest frequency first; cross-correlation with zeros beyond both ends.

    Args:
        fs: sampling rate in Hz; None is that of the observation.
        lower_freq: frequency of the last row in Hz.
        upper_freq: frequency of row 0 in Hz, at most fs / 2.
        n_scales: number of rows.
        size_factor: scales the kernels' length.
        trainable_filter: make the kernels parameters (n_scales, 2 h + 1).
        border_crop: samples to cut from either end of the output.
        stride: samples between frames.
        observation: gives the sampling rate; an experiment gives its own.

    Raises:
        UserError: an argument out of its range.
    """

    SUPPORT = 6.0  # in units of s

    def __init__(
        self,
        fs: float | None,
        lower_freq: float,
        upper_freq: float,
        n_scales: int,
        size_factor: float = 1.0,
        trainable_filter: bool = False,
        border_crop: int = 0,
        stride: int = 1,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__()
        fs = observation.sample_rate if fs is None else fs
        self.fs = fs
        check_positive("RickerCWT", fs=fs, size_factor=size_factor, stride=stride)
        if border_crop < 0:
            raise UserError(f"RickerCWT: border_crop = {border_crop} is negative")
        self.stride, self.border_crop = stride, border_crop
        periods = wavelet_scales(fs, lower_freq, upper_freq, n_scales)
        self.row_frequencies = [1 / period for period in periods]  # Hz, row 0 first
        scales = torch.tensor(periods, dtype=torch.float64)[:, None] / (math.sqrt(2) * math.pi)
        self.half = half_length(size_factor * self.SUPPORT * float(scales[-1]), fs)
        u = torch.arange(-self.half, self.half + 1, dtype=torch.float64) / fs / scales  # t / s
        # The spectrum of (1 - u^2) exp(-u^2 / 2) is proportional to (w s)^2 exp(-(w s)^2 / 2), with
        # its peak at w s = sqrt(2): hence s = sqrt(2) / (2 pi f).
        shapes = (1 - u**2) * torch.exp(-(u**2) / 2)
        tones = torch.cos(math.sqrt(2) * u)  # 2 pi f t = sqrt(2) t / s
        kernels = (shapes / (shapes * tones).sum(dim=1, keepdim=True)).float()
        if trainable_filter:
            self.filters = nn.Parameter(kernels)
        else:
            self.register_buffer("filters", kernels, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, detector, n_scales, frame)."""
        check_waveforms("RickerCWT", x)
        if x.shape[0] == 0:
            return output_for_empty_batch(self, x)
        length = x.shape[-1]
        frames = (length - 1) // self.stride + 1
        crop = check_crop("RickerCWT", self.border_crop // self.stride, frames)
        size = filterbank.transform_length(max(length + self.half, 2 * self.half + 1), 2)
        with torch.autocast(x.device.type, enabled=False):
            kernels = nn.functional.pad(self.filters, (0, size - self.filters.shape[1]))
            # k = 0 comes first and negative k wrap around; the conjugate makes the product a
            # correlation instead of a convolution.
            bank = torch.fft.rfft(kernels.roll(-self.half, dims=1)).conj()  # (row, size / 2 + 1)
            spectrum = torch.fft.rfft(x.float(), size)[..., None, :]  # (batch, detector, 1, ...)
            image = torch.fft.irfft(spectrum * bank, size)[..., : length : self.stride]
        return image[..., crop : frames - crop]
