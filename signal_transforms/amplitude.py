"""Waveform transforms of amplitude: scale, sign and added noise.

Strain has amplitudes near 1e-21, whose squares underflow float32. Levels are therefore ratios of
peaks, not of powers, and nothing here squares raw strain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.base import WaveTransform
from signal_transforms.channels import draw_channel_mask
from signal_transforms.per_sample_operations import peak_amplitude, replace_zeros_by_one

# --- scale ---------------------------------------------------------------------------------------


class Normalize(WaveTransform):
    """Divide each detector by its factor.

    Args:
        factors: one a detector, in strain; `PEAKS` of experiments/settings.py are those of the
            competition, its largest amplitudes. None divides by one.
        observation: how many detectors there are; an experiment gives its own.
    """

    turns_with_sign = True

    def __init__(
        self,
        factors: Sequence[float] | None = None,
        always_apply: bool = True,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        if factors is None:
            factors = (1.0,) * observation.num_detectors
        if any(factor == 0 for factor in factors):
            raise UserError(f"Normalize: factors = {list(factors)} must not hold a zero")
        column = torch.tensor(factors, dtype=torch.float32)[:, None]  # (detector, 1)
        self.register_buffer("factors", column, persistent=False)

    def transform_rows(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.factors):
            raise UserError(
                f"Normalize: {len(self.factors)} factors for {x.shape[1]} channels: "
                "give one factor a channel"
            )
        return x / self.factors.to(x.device)


class FlipWave(WaveTransform):
    """Turn the sign of a sample, all detectors together: the source rotated by a right angle.

    Rotating the source by 90 degrees in the plane of the sky turns the sign of both polarisations.
    """

    def transform_rows(self, x: Tensor) -> Tensor:
        return -x


class Normalize2(WaveTransform):
    """Divide a sample, all detectors together, by a number of its own.

    Args:
        mode: "max", the largest absolute value, or "mean", the mean of the positive values.
    """

    def __init__(self, mode: str = "max", always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)
        if mode not in ("max", "mean"):
            raise UserError(f"Normalize2: mode = {mode!r} is not known: choose 'max' or 'mean'")
        self.mode = mode

    def transform_rows(self, x: Tensor) -> Tensor:
        if self.mode == "max":
            size = x.abs().amax(dim=(1, 2), keepdim=True)  # (batch, 1, 1)
        else:
            count = (x > 0).sum(dim=(1, 2), keepdim=True).clamp_min(1)
            size = x.clamp_min(0).sum(dim=(1, 2), keepdim=True) / count
        return x / replace_zeros_by_one(size)


class MinMaxScaler(WaveTransform):
    """Divide each channel by its largest absolute value; silence stays silence."""

    turns_with_sign = True

    def __init__(self, always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)

    def transform_rows(self, x: Tensor) -> Tensor:
        return x / replace_zeros_by_one(peak_amplitude(x))


class Scale(WaveTransform):
    """Multiply by a constant.

    Args:
        scale: the factor.
    """

    turns_with_sign = True

    def __init__(self, scale: float = 10.0, always_apply: bool = True, p: float = 0.5) -> None:
        super().__init__(always_apply, p)
        self.scale = scale

    def transform_rows(self, x: Tensor) -> Tensor:
        return x * self.scale


class VolumeControl(WaveTransform):
    """Change the volume by up to `db_limit` dB, drawn for each row and shared by its detectors.

    The gain is 10^(d g / 20) with d uniform within the limit and g(t) by mode.

    Args:
        db_limit: largest change in dB, either way.
        mode: "uniform" (g = 1), "fade" (from 1 to 0), "cosine" (cos 2 pi n / time) or "sine".
    """

    MODES = ("uniform", "fade", "cosine", "sine")

    def __init__(
        self,
        db_limit: float = 10.0,
        mode: str = "uniform",
        always_apply: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if mode not in self.MODES:
            raise UserError(
                f"VolumeControl: mode = {mode!r} is not known: choose from {', '.join(self.MODES)}"
            )
        self.db_limit, self.mode = db_limit, mode

    def transform_rows(self, x: Tensor) -> Tensor:
        shape = torch.ones(x.shape[-1], device=x.device)
        # angle of one whole turn over the waveform
        turn = torch.arange(x.shape[-1], device=x.device) * (2 * torch.pi / x.shape[-1])
        if self.mode == "fade":
            shape = torch.linspace(1, 0, x.shape[-1], device=x.device)
        elif self.mode == "cosine":
            shape = torch.cos(turn)
        elif self.mode == "sine":
            shape = torch.sin(turn)
        level = torch.empty(len(x), 1, 1, device=x.device).uniform_(-self.db_limit, self.db_limit)
        return x * 10 ** (level * shape / 20)


class FlipWavePerChannel(WaveTransform):
    """Turn the sign, per channel."""

    per_channel = True

    def transform_rows(self, x: Tensor) -> Tensor:
        return -x


class ToTensor(nn.Module):
    """Turn an array or a tensor into a tensor of a dtype.

    Args:
        dtype: the dtype, or its name.
    """

    def __init__(self, dtype: torch.dtype | str = torch.float32) -> None:
        super().__init__()
        found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if not isinstance(found, torch.dtype):
            raise UserError(f"ToTensor: {dtype!r} is not a dtype: use for example 'float32'")
        self.dtype = found

    def forward(self, x: Tensor | np.ndarray) -> Tensor:
        return torch.as_tensor(x).to(self.dtype)


# --- noise ---------------------------------------------------------------------------------------


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
    # noise * (peak(x) / peak(noise)) has the peak of x; 10^(-level / 20) lowers it by `level` dB.
    return torch.addcmul(x, noise, peak_amplitude(x) * 10 ** (-level / 20) / peak_amplitude(noise))


def check_snr_range(name: str, min_snr: float, max_snr: float) -> None:
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
        self,
        min_snr: float = 5.0,
        max_snr: float = 20.0,
        always_apply: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        check_snr_range(type(self).__name__, min_snr, max_snr)
        self.min_snr, self.max_snr = min_snr, max_snr

    def transform_rows(self, x: Tensor) -> Tensor:
        level = torch.empty(*x.shape[:2], 1, device=x.device).uniform_(self.min_snr, self.max_snr)
        return add_noise(x, self.draw_noise(x), level)

    def draw_noise(self, x: Tensor) -> Tensor:
        return torch.randn_like(x)

    def extra_repr(self) -> str:
        return f"{self.min_snr:g} to {self.max_snr:g} dB, {super().extra_repr()}"


# The second name is that of the original's tensor version; there is only one here.
GaussianNoiseSNRTorch = GaussianNoiseSNR


def power_law_noise(
    shape: Sequence[int], exponent: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return Gaussian noise (..., time) whose power falls as 1 / frequency^exponent.

    The mean is drawn with the power of the lowest frequency. White noise is shaped in the frequency
    domain (Timmer and Koenig, Astronomy and Astrophysics 300, 707, 1995).
    """
    white = torch.randn(*shape, device=device)
    if exponent == 0:
        return white.to(dtype)
    with torch.autocast(device.type, enabled=False):
        # Power falls as f^-exponent, amplitude as f^(-exponent / 2). Bin 0 would be infinite and
        # gets the power of bin 1.
        frequency = torch.arange(shape[-1] // 2 + 1, device=device).clamp_min(1)
        spectrum = torch.fft.rfft(white) * frequency ** (-exponent / 2)
        return torch.fft.irfft(spectrum, shape[-1]).to(dtype)


class PinkNoiseSNR(GaussianNoiseSNR):
    """Add noise with power as 1 / frequency^exponent at a peak-based SNR, per channel.

    Args:
        min_snr: least level in dB, drawn uniformly for each row and detector.
        max_snr: largest level in dB.
        exponent: 1 for pink, 2 for brown noise.
    """

    def __init__(
        self,
        min_snr: float = 5.0,
        max_snr: float = 20.0,
        exponent: float = 1.0,
        always_apply: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(min_snr, max_snr, always_apply, p)
        self.exponent = exponent

    def draw_noise(self, x: Tensor) -> Tensor:
        return power_law_noise(x.shape, self.exponent, x.dtype, x.device)


class AddNoiseSNR2(WaveTransform):
    """Add one noise waveform to several channels, at a level drawn for each of them.

    Args:
        target_channel: channels that may get noise.
        random_channel: how many of them get it, drawn for each row; 0 for all.
        noise_type: "gaussian", "pink" or "brown".
        min_snr: least peak-based level in dB.
        max_snr: largest level in dB.
    """

    EXPONENTS = {"gaussian": 0.0, "pink": 1.0, "brown": 2.0}  # noqa: RUF012 - a constant

    def __init__(
        self,
        target_channel: Sequence[int] = (0, 1, 2),
        random_channel: int = 0,
        noise_type: str = "gaussian",
        min_snr: float = 5.0,
        max_snr: float = 20.0,
        always_apply: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        check_snr_range("AddNoiseSNR2", min_snr, max_snr)
        if noise_type not in self.EXPONENTS:
            raise UserError(
                f"AddNoiseSNR2: noise_type = {noise_type!r} is not known: choose from "
                f"{', '.join(self.EXPONENTS)}"
            )
        if not 0 <= random_channel <= len(target_channel):
            raise UserError(
                f"AddNoiseSNR2: random_channel = {random_channel} of {len(target_channel)} channels"
            )
        self.targets, self.random_channel = list(target_channel), random_channel
        self.noise_type, self.min_snr, self.max_snr = noise_type, min_snr, max_snr

    def transform_rows(self, x: Tensor) -> Tensor:
        level = torch.empty(*x.shape[:2], 1, device=x.device).uniform_(self.min_snr, self.max_snr)
        shape = (len(x), 1, x.shape[-1])
        noise = power_law_noise(shape, self.EXPONENTS[self.noise_type], x.dtype, x.device)
        chosen = draw_channel_mask(
            "AddNoiseSNR2", x, self.targets, self.random_channel or len(self.targets)
        )
        # One noise for all channels of a row, (batch, 1, time), at a level for each channel.
        return torch.where(chosen, add_noise(x, noise, level), x)
