"""A bank of whitened sine-Gaussians: what a glitch in one detector looks like, in a few parameters.

A sine-Gaussian of frequency f and quality Q has the envelope exp(-(2 pi f t / Q)^2 / 2), and the
spectrum a Gaussian of the deviation f / Q around f. Two of equal Q and of frequencies that differ
by df overlap by exp(-(Q df / f)^2 / 4), so a step in ln f of

    4 sqrt(-ln m) / Q

leaves no frequency with less than the match m to its nearest neighbour. Two of equal frequency
whose Q differ by the factor q overlap by 1 / sqrt(cosh(ln q)), which gives the steps in ln Q. This
is the tiling of the Q-transform (Chatterji et al., Classical and Quantum Gravity 21, S1809, 2004),
for noise that is flat across a tile. The arrival time is not tiled: filters run over all times.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from models1d.template_choice import leading_filters
from models1d.whitened_bank import quadratures_of
from physics.curves import DetectorNoise
from physics.glitches import sine_gaussians
from runtime.errors import UserError
from signal_transforms import whitening_operators

FREQUENCIES = (25.0, 350.0)  # Hz; beyond, glitches have little in common with a merger
QUALITIES = (2.0, 12.5)
LEAST_MATCH = 0.9  # in frequency
LEAST_QUALITY_MATCH = 0.95
LENGTH = 0.5  # s of a filter; the longest envelope has a deviation of 80 ms
BASIS = 48  # filters, which lose less than 1 % of the power of the bank


def sine_gaussian_tiles(highest: float) -> np.ndarray:
    """Return the frequencies (Hz) and qualities of the bank, (tile, 2).

    Args:
        highest: frequency above which nothing is seen, Hz.
    """
    quality_step = 2 * math.acosh(LEAST_QUALITY_MATCH**-2)
    low, high = QUALITIES
    number = math.ceil(math.log(high / low) / quality_step) + 1
    tiles = []
    for quality in np.geomspace(low, high, number):
        first, last = FREQUENCIES[0], min(FREQUENCIES[1], highest)
        step = 4 * math.sqrt(-math.log(LEAST_MATCH)) / quality
        count = math.ceil(math.log(last / first) / step) + 1
        tiles += [(frequency, quality) for frequency in np.geomspace(first, last, count)]
    return np.array(tiles)


@functools.lru_cache(maxsize=4)
def sine_gaussian_filters(
    noises: tuple[DetectorNoise, ...], samples: int, decimate: int
) -> tuple[Tensor, Tensor]:
    """Return the matched filters of the bank in noise, as combinations of a few basis filters.

    A tile has two quadratures of norm one: the whitened sine-Gaussian and its Hilbert transform.
    The basis consists of the leading right singular vectors of all of them, as that of
    `template_filters`.

    Args:
        noises: of the detectors.
        samples: of a window, before the decimation.
        decimate: decimation of the whitening.

    Returns:
        The basis (noise, basis, length) and the coefficients (noise, tile, 2, basis), float32. The
        middle of a filter, sample `length / 2`, is the centre of the sine-Gaussian.

    Raises:
        UserError: the window is shorter than a filter.
    """
    rate = noises[0].sample_rate
    length = round(LENGTH * rate / decimate)
    if length > samples // decimate:
        raise UserError(
            f"MatchedFilter1d: glitches: a window of {samples / rate:g} s is shorter than the "
            f"filters of glitches, {LENGTH:g} s: set a longer observation.window, or glitches=false"
        )
    tiles = torch.tensor(sine_gaussian_tiles(rate / decimate / 2), dtype=torch.float32)
    frequency, quality = tiles[:, :1], tiles[:, 1:]  # (tile, 1)
    middle = samples // decimate // 2
    time = (torch.arange(samples) - middle * decimate) / rate
    nothing = torch.zeros_like(frequency)
    strain = sine_gaussians(time, frequency, quality, nothing, nothing)  # (tile, samples)
    cut = slice(middle - length // 2, middle + length // 2)
    quadratures, bases = [], []
    for noise in noises:
        whiten = whitening_operators.design_whitening(
            noise, samples, None, 8, decimate, torch.device("cpu")
        )
        # Transformed before it is cut, because a cut has frequencies of its own.
        both = quadratures_of(whiten(strain))[..., cut]  # (tile, 2, length)
        both = both / both.norm(dim=-1, keepdim=True)
        quadratures.append(both)
        bases.append(leading_filters(both.flatten(0, 1))[0][:BASIS])
    filters = torch.stack(bases)  # (noise, basis, length)
    # (noise, tile, 2, length) @ (noise, 1, length, basis) -> (noise, tile, 2, basis)
    coefficients = torch.stack(quadratures) @ filters.transpose(1, 2)[:, None]
    return filters, coefficients / coefficients.norm(dim=-1, keepdim=True)
