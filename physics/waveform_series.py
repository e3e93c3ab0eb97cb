"""How long the stored series of a waveform is, and where its merger lies in it.

A window shows what lies between its beginning and its end. Its merger passes the geocentre some
time after it begins, between `earliest` and `latest`, and each detector up to 21.3 ms earlier or
later. So the window may hold what lies from `latest` + 21.3 ms before the merger to
window - `earliest` + 21.3 ms after it. A stored series is a little longer and fades to zero at both
ends: it is smoothly periodic, and a Fourier transform shifts it exactly by any fraction of a
sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from physics.constants import LIGHT_TIME

FADE_IN, FADE_OUT = 0.15, 0.1  # s
SHORTEST_UNIT = 1 / 8  # s; series are whole multiples of a power of two of samples near this
SMALL_FACTORS = (2, 3, 5, 7)  # of the lengths that a Fourier transform takes quickly


@dataclass(frozen=True)
class WaveformSeries:
    """The series that a bank stores of each waveform.

    Attributes:
        sample_rate: Hz.
        before: samples before the merger.
        after: samples from the merger on.
        fade_in, fade_out: samples at the two ends over which the series rises and falls.
    """

    sample_rate: int
    before: int
    after: int
    fade_in: int
    fade_out: int

    @property
    def stretch(self) -> int:
        """Samples of the whole series."""
        return self.before + self.after

    @property
    def longest(self) -> float:
        """How long before its merger a waveform need not begin earlier, s.

        A waveform that begins abruptly in the frequency domain rings around its beginning. Two and
        a half times what is stored keeps that out of the series.
        """
        return 2.5 * self.before / self.sample_rate

    def weights(self) -> np.ndarray:
        """Return weights (stretch,): one where a window may lie, falling to zero at both ends."""
        weights = np.ones(self.stretch)
        parts = (
            (self.fade_in, weights[: self.fade_in]),
            (self.fade_out, weights[::-1][: self.fade_out]),
        )
        for size, part in parts:
            part[:] = np.sin(np.pi / 2 * (np.arange(size) + 0.5) / size) ** 2
        return weights

    def to_plain(self) -> dict[str, Any]:
        """Return all fields in JSON's own types."""
        return {
            "sample_rate": self.sample_rate,
            "before": self.before,
            "after": self.after,
            "fade_in": self.fade_in,
            "fade_out": self.fade_out,
        }


def waveform_series(sample_rate: int, window: float, merger: tuple[float, float]) -> WaveformSeries:
    """Return the shortest series that any placement of a merger in a window can be cut from.

    Its length has no prime factors but 2, 3, 5 and 7, and many of 2, so that decimation by a power
    of two leaves whole numbers. For the competition it has 4,096 samples before the merger and
    1,280 after it: 5,376 = 2^8 x 3 x 7 in all.

    Args:
        sample_rate: Hz.
        window: s.
        merger: earliest and latest arrival of the merger at the geocentre, s after the window
            begins.
    """
    unit = 2 ** max(math.floor(math.log2(sample_rate * SHORTEST_UNIT)), 0)  # samples
    earliest, latest = merger
    before = math.ceil((latest + LIGHT_TIME + FADE_IN) * sample_rate / unit)  # in units
    after = math.ceil((window - earliest + LIGHT_TIME + FADE_OUT) * sample_rate / unit)
    while not has_small_factors(before + after):
        after += 1
    return WaveformSeries(
        sample_rate,
        before * unit,
        after * unit,
        math.floor(FADE_IN * sample_rate),
        math.floor(FADE_OUT * sample_rate),
    )


def has_small_factors(number: int) -> bool:
    """Return whether a number is a product of 2, 3, 5 and 7 alone."""
    for factor in SMALL_FACTORS:
        while number % factor == 0:
            number //= factor
    return number == 1
