"""The Morlet transform written plainly: a strided convolution in time, as it is usually done."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectrograms.wavelets import ComplexMorletCWT


class DirectMorletCWT(nn.Module):
    """Magnitudes of `torch.nn.functional.conv1d` with the kernels of a `ComplexMorletCWT`.

    Real and imaginary parts are the channels of one convolution with one input channel. A fixed
    bank is made once; that of a trainable width is rebuilt from it in every forward pass, as in the
    front-end, and the gradient of the width comes from torch's own differentiation.

    Args:
        front_end: whose kernels, stride and initial width to take.
    """

    def __init__(self, front_end: ComplexMorletCWT) -> None:
        super().__init__()
        self.half_kernels = front_end.half_kernels
        self.half, self.stride = front_end.half, front_end.stride
        width = torch.tensor(front_end.initial_width)
        if front_end.trainable_width:
            self.wavelet_width = nn.Parameter(width)
        else:
            self.register_buffer("kernels", self.make_kernels(width))

    def make_kernels(self, width: Tensor) -> Tensor:
        """Return the kernels (2 n_scales, 1, 2 h + 1) float32, all real parts first."""
        upper = self.half_kernels(width.double())  # (n_scales, h + 1)
        kernels = torch.cat([upper.conj().flip(1)[:, :-1], upper], dim=1)  # (n_scales, 2 h + 1)
        return torch.cat([kernels.real, kernels.imag]).float()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, detector, n_scales, frame)."""
        trainable = hasattr(self, "wavelet_width")
        kernels = self.make_kernels(self.wavelet_width) if trainable else self.kernels
        rows = x.reshape(-1, 1, x.shape[-1])  # (batch * detector, 1, time)
        both = F.conv1d(rows, kernels, padding=self.half, stride=self.stride)
        real, imaginary = both.chunk(2, dim=1)  # 2 x (batch * detector, n_scales, frame)
        image = (real.square() + imaginary.square()).sqrt()
        return image.reshape(*x.shape[:2], *image.shape[1:])
