"""Correlation of strain with long filters at every n-th place, as a product of matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POLYPHASE = 32  # samples that are the input channels of one convolution


def strided_correlation(x: Tensor, filters: Tensor, stride: int) -> Tensor:
    """Correlate (B, T) with long filters (C, L) at every `stride`-th place: (B, C, n).

    y_c(k) = sum_l f_c(l) x(stride k + l). With one input channel this is a matrix-vector product
    for each filter, which no hardware does fast. In polyphase form it is a product of matrices:
    write l + stride i = P b + p and k = (P / stride) j + i with P = `POLYPHASE` and
    0 <= i < P / stride. Then

        y_c(k) = sum_p sum_b  f_c(P b + p - stride i)  x(P (j + b) + p),

    a convolution over b whose input channels are the P phases p, and whose output channels are
    the filters, each shifted by stride i for every i.

    n is the number of places in whole blocks of P samples that the filters fit on.
    """
    channels, length = filters.shape
    shifts = POLYPHASE // stride
    blocks = -(-(length + POLYPHASE - stride) // POLYPHASE)  # that the most shifted filter spans
    shifted = torch.stack(
        [
            F.pad(filters, (stride * i, blocks * POLYPHASE - length - stride * i))
            for i in range(shifts)
        ],
        dim=1,
    )  # (C, shift, blocks x P)
    # (C, shift, blocks x P) -> (C x shift, blocks, P) -> (C x shift, P, blocks)
    kernel = shifted.reshape(channels * shifts, blocks, POLYPHASE).transpose(1, 2)
    # (B, T) -> (B, T / P, P) -> (B, P, T / P)
    phases = x.unflatten(1, (-1, POLYPHASE)).transpose(1, 2)
    y = F.conv1d(phases, kernel)  # (B, C x shift, n / shifts)
    # (B, C x shift, n / shifts) -> (B, C, n / shifts, shift) -> (B, C, n)
    return y.unflatten(1, (channels, shifts)).transpose(2, 3).flatten(2)
