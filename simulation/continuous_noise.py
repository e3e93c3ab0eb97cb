"""Stationary Gaussian noise of any length: white noise, coloured by a filter, block by block.

The noise is n = h * w: unit white noise w, convolved with a filter h whose transfer function is the
root of the PSD. So n is stationary and Gaussian by construction, and blocks that are computed one
after another join without a seam: each is the convolution with the same white noise (overlap-save;
Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7.3).

White noise is drawn in pieces, each with a seed that is counted from its number. Any part of the
noise can therefore be computed by itself, and is the same bit by bit whatever was computed before.
"""

from __future__ import annotations

import functools

import numpy as np

from physics.curves import DetectorNoise
from runtime.seeds import counted_seed

PIECE_SECONDS = 32  # of white noise with one seed, and half the length of the filter
BLOCK_PIECES = 14  # a block with the pieces on both sides is 16 of them, fast to transform


@functools.lru_cache(maxsize=64)
def colouring_filter(noise: DetectorNoise) -> np.ndarray:
    """Return the transfer function of the filter that gives white noise the PSD of a detector.

    White noise of variance 1, sampled at fs, has the one-sided PSD 2 / fs, and a filter multiplies
    a PSD by |H|^2. So H = sqrt(S fs / 2), real, and the filter is symmetric in time. It is cut to
    32 s on both sides by a cosine-squared window, which smooths H over about 1/32 Hz: longer than
    any line of the curves rings, which are tabulated 1/8 Hz apart or coarser. The smoothing is seen
    only at the lowest frequency, where the PSD jumps to zero, and at kinks of the table.

    Args:
        noise: of the detector; of a family of curves, one of its members.

    Returns:
        (8 * pieces of 32 s + 1,) complex128 at the frequencies of `rfft` of a block and the pieces
        on both sides of it, in units of 1e-21.
    """
    half = round(PIECE_SECONDS * noise.sample_rate)
    size = (BLOCK_PIECES + 2) * half
    kernel = np.fft.irfft(np.sqrt(noise.psd_on_grid(size) * noise.sample_rate / 2), size)
    # The filter is symmetric about sample 0, so that its negative times lie at the end.
    window = np.cos(np.pi / 2 * np.arange(half) / half) ** 2  # times 0 to 32 s
    kernel[:half] *= window
    kernel[half : size - half + 1] = 0.0
    kernel[size - half + 1 :] *= window[:0:-1]
    return np.fft.rfft(kernel)


class ContinuousNoise:
    """The noise of one detector in one segment.

    Args:
        noise: of the detector; of a family of curves, one of its members.
        *counters: from which all seeds are counted, e.g. (seed, segment, detector).
    """

    def __init__(self, noise: DetectorNoise, *counters: int | str) -> None:
        self.noise, self.counters = noise, counters
        self.piece_size = round(PIECE_SECONDS * noise.sample_rate)
        self.block_size = BLOCK_PIECES * self.piece_size

    def white_piece(self, number: int) -> np.ndarray:
        """Return a piece of the white noise, (piece_size,) float64; numbers may be negative."""
        rng = np.random.default_rng(counted_seed("continuous noise", *self.counters, number))
        return rng.standard_normal(self.piece_size)

    def block(self, number: int) -> np.ndarray:
        """Return block `number`: samples number * block_size and those after it.

        Returns:
            (block_size,) float64, in units of 1e-21 strain.
        """
        import scipy.fft

        # The filter reaches one piece to both sides, so the outermost pieces take part in the
        # convolution and are cut off with what wraps around.
        first = number * BLOCK_PIECES - 1
        white = [self.white_piece(first + i) for i in range(BLOCK_PIECES + 2)]
        spectrum = scipy.fft.rfft(np.concatenate(white))
        spectrum *= colouring_filter(self.noise)
        coloured = scipy.fft.irfft(spectrum, (BLOCK_PIECES + 2) * self.piece_size)
        return coloured[self.piece_size : -self.piece_size]

    def read(self, first: int, count: int) -> np.ndarray:
        """Return any part of the noise.

        Args:
            first: number of the first sample.
            count: how many samples.

        Returns:
            (count,) float64, in units of 1e-21 strain.
        """
        values = np.empty(count)
        for number in range(first // self.block_size, (first + count - 1) // self.block_size + 1):
            start = number * self.block_size - first  # of the block, within `values`
            low, high = max(start, 0), min(start + self.block_size, count)
            values[low:high] = self.block(number)[low - start : high - start]
        return values
