"""Whitening of strain of any length by a filter that is two windows long.

White noise of unit variance has the one-sided PSD 2 / rate. So strain with the PSD S is white once
its spectrum is divided by sqrt(S rate / 2). In time that is a filter, even in time. Its taps fade
out one window's length away (a Hann window over the lags), so that whitened strain depends on the
strain up to one window away and on nothing beyond.
"""

from __future__ import annotations

import numpy as np


def whitening_taps(power: np.ndarray, rate: float) -> np.ndarray:
    """Return the taps of the filter that whitens noise of a PSD.

    Args:
        power: (n + 1,) one-sided PSD at the frequencies of `rfft` of 2 n samples, positive; n is
            the number of samples in a window.
        rate: Hz, of the strain.

    Returns:
        (2 n,) float64 at the lags -n, ..., n - 1 samples, in 1 / (unit of the strain).
    """
    n = len(power) - 1
    lags = np.arange(-n, n)
    taps = np.fft.irfft(1 / np.sqrt(power * (rate / 2)), 2 * n)[lags]
    return taps * (1 + np.cos(np.pi * lags / n)) / 2


def whiten_periodic(x: np.ndarray, power: np.ndarray, rate: float) -> np.ndarray:
    """Return whitened strain of unit variance.

    Args:
        x: (samples,) finite, in the unit of the PSD, taken as periodic: the first n samples of the
            result see the last ones of the strain, and the last n the first.
        power: (n + 1,) as `whitening_taps` takes it.
        rate: Hz, of the strain.

    Returns:
        (samples,) of the type of x.
    """
    from scipy import fft

    taps, size = whitening_taps(power, rate), len(x)
    n = len(taps) // 2
    # Even in time but for the first tap, which is zero: the response is real. What is longer than
    # the strain wraps around.
    series = np.bincount(np.arange(-n, n) % size, weights=taps, minlength=size)
    gain = fft.rfft(series).real.astype(x.dtype)
    return fft.irfft(fft.rfft(x) * gain, size)
