"""The front-ends that work in the frequency domain, as plain convolutions: for exported graphs.

ONNX has no complex numbers, and the plan of `filterbank` depends on values. A convolution with the
real and the imaginary parts of the same kernels gives the same image, of real numbers only. It
costs more: a row of 2 h + 1 samples takes 2 (2 h + 1) products a frame, where the transforms take
some tens.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectrograms.constant_q import CQT
from spectrograms.filterbank import LEAST
from spectrograms.wavelets import ComplexMorletCWT, RickerCWT


class ConvolvedFrontEnd(nn.Module):
    """Image of a filter bank, by convolution.

    Args:
        kernels: (row, samples); complex ones give magnitudes, real ones signed values.
        stride: samples between frames.
        padding: samples added at either end.
        reflects: fill them with the reflected waveform instead of zeros.
        crop: frames to cut from either end.
    """

    def __init__(
        self, kernels: Tensor, stride: int, padding: int, reflects: bool = False, crop: int = 0
    ) -> None:
        super().__init__()
        self.is_magnitude = kernels.is_complex()
        if self.is_magnitude:
            kernels = torch.cat([kernels.real, kernels.imag])  # (row, k) -> (2 row, k)
        self.register_buffer("weight", kernels[:, None].float().contiguous())  # (rows, 1, k)
        self.stride, self.padding, self.crop = stride, padding, crop
        self.mode = "reflect" if reflects else "constant"

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, detector, row, frame)."""
        detectors = x.shape[1]
        rows = x.float().flatten(0, 1)[:, None]  # (batch x detector, 1, time)
        # Strain of 1e-21 has squares below float32's least number.
        peak = rows.abs().amax(-1, keepdim=True).clamp_min(LEAST * LEAST)
        padded = F.pad(rows / peak, (self.padding, self.padding), mode=self.mode)
        image = F.conv1d(padded, self.weight, stride=self.stride)  # (.., rows, frame)
        if self.is_magnitude:
            real, imaginary = image.chunk(2, dim=1)
            image = (real.square() + imaginary.square()).sqrt()
        # (batch x detector, row, frame) -> (batch, detector, row, frame)
        image = (image * peak).unflatten(0, (-1, detectors))
        return image[..., self.crop : image.shape[-1] - self.crop]


@torch.no_grad()
def convolve_morlet(cwt: ComplexMorletCWT) -> ConvolvedFrontEnd:
    """Return the same transform by convolution, with the width or the filters as trained."""
    if cwt.trainable_filter:
        kernels = torch.complex(cwt.filters[0], cwt.filters[1])
    else:
        width = torch.tensor(cwt.initial_width, dtype=torch.float64)
        if cwt.trainable_width:
            width = cwt.wavelet_width.double().clamp_min(cwt.initial_width / 100)
        upper_half = cwt.half_kernels(width)  # k = 0 .. h; kernel[-k] = conj(kernel[k])
        kernels = torch.cat([upper_half.conj().flip(1)[:, :-1], upper_half], dim=1)
    return ConvolvedFrontEnd(
        kernels.cpu(), cwt.stride, cwt.half, crop=cwt.border_crop // cwt.stride
    )


@torch.no_grad()
def convolve_ricker(cwt: RickerCWT) -> ConvolvedFrontEnd:
    """Return the same transform by convolution."""
    return ConvolvedFrontEnd(
        cwt.filters.detach().cpu(), cwt.stride, cwt.half, crop=cwt.border_crop // cwt.stride
    )


def convolve_constant_q(cqt: CQT) -> ConvolvedFrontEnd:
    """Return the same transform by convolution."""
    width = cqt.kernels.shape[1]
    return ConvolvedFrontEnd(cqt.kernels.cpu(), cqt.hop_length, width // 2, reflects=True)


CONVOLVED = {
    ComplexMorletCWT: convolve_morlet,
    RickerCWT: convolve_ricker,
    CQT: convolve_constant_q,
}


def with_convolved_front_ends(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose front-ends of Fourier transforms are convolutions."""
    network = copy.deepcopy(network)
    if type(network) in CONVOLVED:
        return CONVOLVED[type(network)](network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) in CONVOLVED:
                setattr(module, name, CONVOLVED[type(child)](child))
    return network
