"""Waveform transforms that decompose a signal and put it together again, changed.

`DWTDenoise` sets small coefficients of a discrete wavelet transform to zero. `PitchShift` changes
the speed of a short-time Fourier transform and resamples the result.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from runtime.optional_packages import require
from signal_transforms.base import WaveTransform
from signal_transforms.per_sample_operations import peak_amplitude, replace_zeros_by_one

# --- the discrete wavelet transform ---------------------------------------------------------------


def scaling_filter(wavelet: str) -> list[float]:
    """Return the low-pass decomposition filter of an orthogonal wavelet.

    Haar's is known here; all others are read from PyWavelets.

    Raises:
        UserError: PyWavelets is needed and absent, or the wavelet is unknown or not orthogonal.
    """
    if wavelet in ("haar", "db1"):
        return [math.sqrt(0.5), math.sqrt(0.5)]
    pywt = require("pywt", "dev")
    if wavelet not in pywt.wavelist(kind="discrete"):
        raise UserError(f"DWTDenoise: {wavelet!r} is no wavelet of PyWavelets: try 'db4'")
    found = pywt.Wavelet(wavelet)
    if not found.orthogonal:
        raise UserError(f"DWTDenoise: {wavelet!r} is not orthogonal: use a db, sym or coif wavelet")
    return list(found.dec_lo)


def max_level(length: int, taps: int) -> int:
    """Return how often a signal can be halved before it is shorter than the filter."""
    if length < taps - 1:
        return 0
    return int(math.log2(length / (taps - 1)))


def analysis_step(x: Tensor, low: list[float]) -> tuple[Tensor, Tensor]:
    """One level of the periodic transform, (..., n) to approximation and detail (..., n / 2).

    a[k] = sum_j low[j] x[2 k + taps / 2 - j]; the detail has the quadrature mirror filter
    (Mallat, A Wavelet Tour of Signal Processing, section 7.3).
    """
    taps = len(low)
    approximation = detail = 0
    # The mirror filter is high[j] = (-1)^(j + 1) low[taps - 1 - j].
    for j in range(taps):
        sample = x.roll(j - taps // 2, dims=-1)[..., ::2]  # x[2 k + taps / 2 - j]
        approximation = approximation + low[j] * sample
        detail = detail + (-1) ** (j + 1) * low[taps - 1 - j] * sample
    return approximation, detail


def synthesis_step(approximation: Tensor, detail: Tensor, low: list[float]) -> Tensor:
    """The inverse of `analysis_step`, which is its transpose."""
    taps = len(low)
    x = 0
    for j in range(taps):
        # Transposed: what was read from x[2 k + taps / 2 - j] is added there.
        value = low[j] * approximation + (-1) ** (j + 1) * low[taps - 1 - j] * detail
        spread = torch.stack([value, torch.zeros_like(value)], dim=-1).flatten(-2)  # (..., n)
        x = x + spread.roll(taps // 2 - j, dims=-1)
    return x


def median(x: Tensor) -> Tensor:
    """Return the median of each row, the mean of the middle two where they are even in number."""
    ordered, count = x.sort(dim=-1).values, x.shape[-1]
    middle = ordered[..., (count - 1) // 2] + ordered[..., count // 2]
    return (middle / 2)[..., None]


class DWTDenoise(WaveTransform):
    """Denoise by a hard threshold on wavelet coefficients, per channel.

    The signal is decomposed fully. sigma is the median absolute deviation of one level's details
    over 0.6745, and details below sigma sqrt(2 ln time), the universal threshold, become zero
    (Donoho and Johnstone, Biometrika 81, 425, 1994).

    Args:
        wavelet: "haar", or with PyWavelets installed any orthogonal one, e.g. "db4".
        mode: only "per", the periodic transform.
        level: details that sigma is taken from; 1 is the finest.

    Raises:
        UserError: a mode that is not there, or a length that cannot be halved so often.
    """

    per_channel = True

    def __init__(
        self,
        wavelet: str = "haar",
        mode: str = "per",
        level: int = 1,
        always_apply: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(always_apply, p)
        if mode != "per":
            raise UserError(f"DWTDenoise: mode = {mode!r}: only 'per' (periodic) is there")
        self.low = scaling_filter(wavelet)
        self.wavelet, self.level = wavelet, level

    def transform_rows(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        levels = max_level(length, len(self.low))
        if length % 2**levels:
            raise UserError(
                f"DWTDenoise: {length} samples cannot be halved {levels} times: use a length that "
                f"is a multiple of {2**levels}"
            )
        if not 1 <= self.level <= levels:
            raise UserError(f"DWTDenoise: level = {self.level} is not one of 1 to {levels}")
        approximation, details = x, []  # details from the finest to the coarsest
        for _ in range(levels):
            approximation, detail = analysis_step(approximation, self.low)
            details.append(detail)
        finest = details[self.level - 1]
        # The median absolute deviation of Gaussian noise is 0.6745 of its standard deviation, and a
        # few large coefficients of a signal hardly move it.
        sigma = median((finest - median(finest)).abs()) / 0.6745  # (batch, detector, 1)
        threshold = sigma * math.sqrt(2 * math.log(length))
        for detail in reversed(details):
            kept = torch.where(detail.abs() < threshold, 0.0, detail)
            approximation = synthesis_step(approximation, kept, self.low)
        return approximation.to(x.dtype)


# --- pitch ---------------------------------------------------------------------------------------


def stretch_phases(spectrum: Tensor, rate: float, hop: int) -> Tensor:
    """Phase vocoder: play an STFT at `rate` times its speed without changing its frequencies.

    New frame m lies at rate m of the old frames. Its magnitude is interpolated between the two
    around it, and from one new frame to the next the phase advances as it did between those two
    (Flanagan and Golden, Bell System Technical Journal 45, 1493, 1966).

    Args:
        spectrum: (rows, frequency, frame), complex.
        rate: above one for faster.
        hop: samples between frames.

    Returns:
        (rows, frequency, ceil(frames / rate)).
    """
    frames = spectrum.shape[-1]
    at = torch.arange(0, frames, rate, device=spectrum.device)
    before = at.long()
    fraction = at - before
    padded = torch.nn.functional.pad(spectrum, (0, 2))
    left, right = padded[..., before], padded[..., before + 1]
    size = (1 - fraction) * left.abs() + fraction * right.abs()
    bins = torch.arange(spectrum.shape[1], device=spectrum.device)[:, None]  # (frequency, 1)
    expected = torch.pi * hop * bins / (spectrum.shape[1] - 1)  # advance of the bin's own centre
    # A phase is known up to 2 pi. The true advance is taken as the one nearest to the expected:
    # expected + (surplus wrapped to -pi .. pi).
    surplus = right.angle() - left.angle() - expected
    advance = expected + surplus - 2 * torch.pi * torch.round(surplus / (2 * torch.pi))
    advance = torch.nn.functional.pad(advance[..., :-1], (1, 0))  # none before the first frame
    phase = advance.double().cumsum(-1)  # float64: hundreds of turns add up
    # The phases are the signal's own in the middle. At the start they would be those of a frame
    # half outside it, which neighbouring bins do not share, and a tone would lose a tenth.
    middle = slice(len(at) // 2, len(at) // 2 + 1)
    phase = (phase - phase[..., middle] + left[..., middle].angle()) % (2 * torch.pi)
    return torch.polar(size, phase.to(size.dtype))


def invert_stft(spectrum: Tensor, window: Tensor, hop: int, length: int) -> Tensor:
    """Return what `torch.istft` returns, without its look at the window, which waits for a GPU.

    Frames are transformed back, windowed again, added where they lie, and divided by what the
    squares of the windows add up to.

    Args:
        spectrum: (rows, frequency, frame) of frames centred on multiples of `hop`.
        window: (n_fft,), whose squares leave no sample without weight.
        hop: samples between frames.
        length: samples of the result.

    Returns:
        (rows, length).
    """
    n_fft, number = len(window), spectrum.shape[-1]
    size = n_fft + hop * (number - 1)
    frames = torch.fft.irfft(spectrum.transpose(1, 2), n_fft) * window  # (rows, frame, n_fft)
    squares = window.square().expand(1, number, n_fft)
    add_up = torch.ops.aten.unfold_backward  # the adjoint of cutting into frames
    summed = add_up(frames, [len(frames), size], 1, n_fft, hop)
    weights = add_up(squares, [1, size], 1, n_fft, hop)
    inside = slice(n_fft // 2, n_fft // 2 + length)
    y = summed[:, inside] / weights[:, inside]
    return torch.nn.functional.pad(y, (0, length - y.shape[1]))


def shift_pitch(x: Tensor, semitones: int, n_fft: int = 512) -> Tensor:
    """Shift all frequencies of (rows, time) by semitones at the same length.

    A tone of frequency f is stretched in time by a factor 2^(semitones / 12), which leaves f as it
    is. Resampling the stretched signal to the old length plays it faster by that factor, so that f
    becomes f 2^(semitones / 12).
    """
    length, hop = x.shape[-1], n_fft // 4
    rate = 2 ** (-semitones / 12)
    window = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.stft(x, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    stretched_length = round(length / rate)
    spectrum = stretch_phases(spectrum, rate, hop)
    stretched = invert_stft(spectrum, window, hop, stretched_length)
    # Band-limited resampling by the FFT: to a shorter length the highest frequencies are cut off,
    # to a longer one zeros are appended. irfft divides by its own length, hence the last factor.
    spectrum = torch.fft.rfft(stretched)
    kept = min(length, stretched_length) // 2 + 1
    return torch.fft.irfft(spectrum[..., :kept], length) * (length / stretched_length)


class PitchShift(WaveTransform):
    """Shift the pitch by whole semitones, drawn for each row and shared by its detectors.

    A phase vocoder like librosa's, with other rounding. Shifts are drawn from -max_steps to
    max_steps, both included. The pitch of a merger depends on its mass, so this augmentation
    changes the masses that the network sees.

    Args:
        max_steps: largest shift in semitones, either way.
        sr: sampling rate in Hz; None is that of the observation. A shift in semitones does not
            depend on it.
        observation: gives the sampling rate; an experiment gives its own.
    """

    def __init__(
        self,
        max_steps: int = 5,
        sr: float | None = None,
        always_apply: bool = False,
        p: float = 0.5,
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        super().__init__(always_apply, p)
        sr = observation.sample_rate if sr is None else sr
        if max_steps < 0:
            raise UserError(f"PitchShift: max_steps = {max_steps} is negative")
        self.max_steps, self.sr = max_steps, sr

    def transform_rows(self, x: Tensor) -> Tensor:
        # Rows of one shift go through the vocoder together. So the host must know the shifts: they
        # are drawn on the CPU, and the numbers of rows follow without a wait.
        steps = torch.randint(-self.max_steps, self.max_steps + 1, (len(x),)).numpy()
        y = x.clone()
        with torch.autocast(x.device.type, enabled=False):
            for step in np.unique(steps):
                if step:
                    of_step = torch.from_numpy(np.flatnonzero(steps == step))
                    rows = of_step.to(x.device, non_blocking=True)
                    chosen = x.index_select(0, rows).float()  # (chosen, detector, time)
                    scale = replace_zeros_by_one(
                        peak_amplitude(chosen)
                    )  # strain would underflow in the magnitudes
                    shifted = shift_pitch((chosen / scale).flatten(0, 1), int(step))
                    shifted = (shifted.view_as(chosen) * scale).to(x.dtype)
                    y.index_copy_(0, rows, shifted)
        return y
