"""The whitening filter of stationary noise: its taps in time, and its gain at any length.

Away from the edges of a window, C^(-1/2) is a convolution with the filter whose spectrum is the
root of the inverse PSD. As a product of spectra it costs n log n for n samples, where the matrix
costs n^2, and one filter serves series of any length.
"""

from __future__ import annotations

import numpy as np


def whitening_taps(
    psd: np.ndarray, sample_rate: float, decimate: int = 1, lowest: float = 0.0
) -> np.ndarray:
    """Return the taps of the filter that whitens noise of a PSD.

    The root of the inverse PSD, as a filter in time, is as long as two windows and fades to its
    ends (a Hann window over the lags). So a sample depends on the strain up to one window away and
    on nothing beyond, and a line that is narrower than a bin leaks no further.

    White noise of unit variance has the one-sided PSD 2 / rate, so that a spectrum is divided by
    the root of PSD * rate / 2. The inverse transform of 1/d of the bins is d times as large and a
    decimation that keeps norms makes it sqrt(d) larger; the rest is 1 / sqrt(d).

    Args:
        psd: (n + 1,) one-sided, at the frequencies of `rfft` of two windows of n samples, positive.
        sample_rate: Hz.
        decimate: d, of what the filter's output is decimated by.
        lowest: Hz, below which nothing is let through.

    Returns:
        (2 n,) float64, at the lags -n to n - 1; even in the lag.
    """
    n = len(psd) - 1
    root = 1 / np.sqrt(psd * (sample_rate / 2) * decimate)
    if lowest > 0:
        root[np.fft.rfftfreq(2 * n, 1 / sample_rate) < lowest] = 0
    lags = np.arange(-n, n)
    return np.fft.irfft(root, 2 * n)[lags] * (1 + np.cos(np.pi * lags / n)) / 2


def gain_of_taps(taps: np.ndarray, size: int) -> np.ndarray:
    """Return the spectrum of an even filter at the frequencies of `rfft` of `size` samples.

    Args:
        taps: (2 n,) at the lags -n to n - 1.
        size: of the periodic series; at the frequencies of one shorter than the filter, what is
            longer wraps around.

    Returns:
        (size // 2 + 1,) float64; real, as the filter is even in time.
    """
    n = len(taps) // 2
    series = np.bincount(np.arange(-n, n) % size, weights=taps, minlength=size)
    return np.fft.rfft(series).real


def decimation_delay(size: int, decimate: int, bins: int) -> np.ndarray:
    """Return factors of spectra that put decimated samples where a cosine transform puts them.

    A decimating cosine transform puts its n-th sample in the middle of the d samples that it stands
    for, (d - 1) / 2 after the first of them.

    Returns:
        (bins,) complex128.
    """
    return np.exp(1j * np.pi * (decimate - 1) / size * np.arange(bins))
