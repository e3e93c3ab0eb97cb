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


def make_frame_kernel(filters: Tensor, stride: int) -> Tensor:
    """Return the matrix that correlates frames of strain with filters (C, L).

    The same product as in `strided_correlation`, as one matrix for frames of its K rows that begin
    `POLYPHASE` samples apart: on long strain and in bf16 several times as fast as a convolution.

    Returns:
        (K, POLYPHASE / stride x C): column (i, c) holds filter c, later by stride i samples.
    """
    channels, length = filters.shape
    shifts = POLYPHASE // stride
    kernel = filters.new_zeros(length + POLYPHASE - stride, shifts, channels)
    for i in range(shifts):
        kernel[stride * i : stride * i + length, i] = filters.T
    return kernel.flatten(1)


def correlate_frames(x: Tensor, kernel: Tensor, channels: int) -> Tensor:
    """Correlate (B, T) with the filters of a frame kernel at every stride-th place.

    Args:
        x: (B, T) of the kernel's type.
        kernel: (K, POLYPHASE / stride x C) of `make_frame_kernel`.
        channels: C.

    Returns:
        (B, n, C), n being the number of places in whole frames that fit.
    """
    frames = x.unfold(1, kernel.shape[0], POLYPHASE)  # (B, frames, K), overlapping views
    # One product of two matrices, which needs the frames side by side.
    y = frames.flatten(0, 1) @ kernel  # (B x frames, POLYPHASE / stride x C)
    places = frames.shape[1] * (kernel.shape[1] // channels)
    return y.view(
        len(x), places, channels
    )  # (B x frames, POLYPHASE / stride x C) -> (B, places, C)
