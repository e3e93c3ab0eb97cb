"""Whitening of a whole stretch of strain at once, as `Whiten` whitens windows.

`Whiten` multiplies a window by C^(-1/2). Away from a window's edges that is a convolution, computed
here for a stretch of any length by Fourier transforms, with each PSD where it is valid. Gaps and
both ends of the stretch are filled with the conditional expectation of the noise (see
`signal_transforms/gap_filling.py`), so that lines do not ring there.

Tolerance: on Gaussian noise of LIGO's design curve, windows of 2 s, the whitened strain differs
from C^(-1/2) of the window by 0.02 in the middle of the window, by at most 0.06 elsewhere and by
0.15 in the first and the last 32nd of it, in standard deviations of the noise, root mean square.
Most of that lies next to the lowest frequency that is kept, where templates have no power. With the
band-pass of 20 to 500 Hz, whose passes begin anew at the edges of every window, the outermost 32nds
differ by 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from physics.observation import Observation
from signal_transforms.band_pass_operators import zero_phase_gain
from signal_transforms.gap_filling import GapFiller, fill_gaps, find_runs
from signal_transforms.spectral_whitening import decimation_delay, gain_of_taps, whitening_taps
from signal_transforms.whitening_operators import LOWEST_KEPT

if TYPE_CHECKING:
    from data.tracked_psds import TrackedPSD
    from search.conditioned_stretch import ConditionedStretch

# Beside a gap the whitened strain lacks what the filter would have found in it. So much of a
# window's length is not used there.
EDGE = 1 / 32
QUARTILE = 0.67449  # of the magnitude of a unit Gaussian: its median
CUT, INNER_VARIANCE = 4.0, 0.99893  # the variance of a unit Gaussian within four deviations
FEWEST_WINDOWS = 4  # of usable strain, for a scale of its own


@dataclass(frozen=True)
class Band:
    """The band-pass of `Whiten(band, order)`, after the whitening.

    Attributes:
        lower, upper: Hz, where the gain is one half.
        order: of the Butterworth filter that runs forwards and backwards.
    """

    lower: float
    upper: float
    order: int = 8

    def gain(self, size: int, sample_rate: float) -> np.ndarray:
        """Return the gain at the frequencies of `rfft` of `size` samples, (size // 2 + 1,)."""
        frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
        return zero_phase_gain(frequencies, self.lower, self.upper, sample_rate, self.order)

    def deviation(self, sample_rate: float, lowest: float) -> float:
        """Return the standard deviation of noise of unit power from `lowest` Hz on in this band.

        The variance is the mean, over all frequencies, of the squared gain where there is noise.
        """
        size = 2**16
        there = np.fft.rfftfreq(size, 1 / sample_rate) >= lowest
        return float(np.sqrt(np.mean(there * self.gain(size, sample_rate) ** 2)))


@dataclass(frozen=True)
class WhitenedStrain:
    """Whitened strain of one detector.

    Attributes:
        values: (samples,) float32 at the rate over `decimate`, of unit power in the frequencies
            that are kept; as in `Whiten`, sample j stands for the middle of the samples j d to
            j d + d - 1, with a band for sample j d.
        usable: (samples,) bool, False in gaps and next to them.
    """

    values: np.ndarray
    usable: np.ndarray


def whiten_stretch(
    conditioned: ConditionedStretch, decimate: int, band: Band | None = None
) -> dict[str, WhitenedStrain]:
    """Return the whitened strain of every detector of a stretch.

    Args:
        conditioned: strain with its PSDs.
        decimate: d, as in `Whiten`.
        band: likewise.
    """
    return {
        name: whiten_series(
            conditioned.strain[name],
            conditioned.usable[name],
            conditioned.psds[name],
            conditioned.stretch.start,
            conditioned.observation,
            decimate,
            band,
        )
        for name in conditioned.stretch.detectors
    }


def whiten_series(
    strain: np.ndarray,
    usable: np.ndarray,
    psds: list[TrackedPSD],
    start: float,
    observation: Observation,
    decimate: int,
    band: Band | None = None,
) -> WhitenedStrain:
    """Return the whitened strain of one detector, white with unit power where noise is let through.

    A PSD measured from few pieces is noisy, and dividing by a noisy estimate overshoots on average.
    The whitened strain is scaled while a PSD is valid to the deviation that it should have, which
    takes that back; see `robust_scale`, which loud signals hardly change.

    Args:
        strain: (samples,) in 1e-21.
        usable: (samples,) bool.
        psds: in order of time; the first and the last serve to the ends of the strain.
        start: GPS time of the first sample, s.
        observation: rate, window and lowest frequency.
        decimate: d; samples beyond a multiple of it are left out.
        band: of a band-pass after the whitening.
    """
    size = len(strain) // decimate
    values = np.zeros(size, np.float32)
    edges = [round((psd.start - start) * observation.sample_rate / decimate) for psd in psds[1:]]
    bounds = np.clip([0, *edges, size], 0, size)
    good = usable[: size * decimate].reshape(size, decimate).all(1)  # (samples,) -> (decimated,)
    good &= ~widen(~good, round(EDGE * observation.num_samples / decimate))
    fewest = FEWEST_WINDOWS * observation.num_samples // decimate
    scaled = []  # pieces whose scale was measured
    for psd, low, high in zip(psds, bounds[:-1], bounds[1:], strict=True):
        if high > low:
            piece = slice(low, high)
            values[piece] = whiten_piece(
                strain, usable, psd.power, (low, high), observation, decimate, band
            )
            enough = good[piece].sum() >= fewest
            scaled += (
                [(piece, robust_scale(values[piece][good[piece]]))] if enough else [(piece, None)]
            )
    known = [scale for _, scale in scaled if scale is not None]
    usual = float(np.median(known)) if known else robust_scale(values[good])
    unit = deviation_of_noise(observation, decimate, band)
    for piece, scale in scaled:
        values[piece] *= unit / (usual if scale is None else scale)
    return WhitenedStrain(values, good)


def deviation_of_noise(
    observation: Observation, decimate: int = 1, band: Band | None = None
) -> float:
    """Return the standard deviation of whitened noise that has unit power where there is any.

    White noise of unit variance has the power one in each frequency up to half of the rate. Noise
    with nothing below a lowest frequency has the share of the rest as its variance.
    """
    if band is not None:
        return band.deviation(observation.sample_rate, observation.min_frequency)
    # Conditioned strain has nothing below `min_frequency`, and a decimation keeps less.
    lowest = observation.min_frequency * (LOWEST_KEPT if decimate > 1 else 1.0)
    return float(np.sqrt(1 - lowest / (observation.sample_rate / decimate / 2)))


def robust_scale(values: np.ndarray) -> float:
    """Return the standard deviation of Gaussian values, whatever some of them are; 1 without any.

    The root mean square of those within four deviations, which the median of the magnitude gives
    roughly. Its error is that of the root mean square, half the median's, and it hardly changes if
    the strain is shifted by parts of a sample.
    """
    roughly = float(np.median(np.abs(values))) / QUARTILE if len(values) else 0.0
    if roughly <= 0:
        return 1.0
    inner = values[np.abs(values) < CUT * roughly].astype(np.float64)
    return float(np.sqrt(np.square(inner).mean() / INNER_VARIANCE))


def whiten_piece(
    strain: np.ndarray,
    usable: np.ndarray,
    power: np.ndarray,
    bounds: tuple[int, int],
    observation: Observation,
    decimate: int,
    band: Band | None = None,
) -> np.ndarray:
    """Return whitened strain from one decimated sample up to another, by one PSD.

    Args:
        strain, usable: (samples,) of the whole series.
        power: (n + 1,) the PSD, for windows of n samples.
        bounds: the first decimated sample and the one after the last.
        observation: rate, window and lowest frequency.
        decimate: d.
        band: of a band-pass after the whitening.

    Returns:
        (bounds[1] - bounds[0],) float64.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    n, rate, d = observation.num_samples, observation.sample_rate, decimate
    # The filter reaches one window to either side, and the filling of a gap two further ones.
    first, last = bounds[0] * d - n, bounds[1] * d + n
    around, missing = cut_around(strain, usable, first, last)
    if missing.any():
        taps = whitening_taps(power, rate)
        wide, gaps = cut_around(strain, usable, first - 2 * n, last + 2 * n)
        fill_gaps(wide, gaps, GapFiller(taps))
        around = wide[2 * n : -2 * n]
    # No sample that is kept sees the periodic continuation: the filter is as long as the margins.
    # (A band-pass rings on beyond them; of 20 Hz and order 8, e^-49 is left after 2 s.)
    size = 2 * d * next_fast_len(-(-len(around) // (2 * d)), real=True)
    kept = slice(n // d, n // d + bounds[1] - bounds[0])
    if band is not None:
        gain = gain_of_taps(whitening_taps(power, rate), size) * band.gain(size, rate)
        # Every d-th sample, as of the matrix's rows. The first one wanted is number n of `around`.
        return irfft(rfft(around, size) * gain, size)[n % d :: d][kept]
    lowest = LOWEST_KEPT * observation.min_frequency if d > 1 else 0.0
    bins = size // (2 * d) + 1
    gain = gain_of_taps(whitening_taps(power, rate, d, lowest), size)[:bins]
    if d > 1:
        gain[-1] = 0  # a decimated series holds what lies below its Nyquist frequency
    spectrum = rfft(around, size)[:bins] * gain * decimation_delay(size, d, bins)
    return irfft(spectrum, size // d)[kept]


def cut_around(
    strain: np.ndarray, usable: np.ndarray, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return samples `first` to `last` - 1 as float64, and which of them are missing.

    What lies outside the series is missing, and so is what is not usable.
    """
    values, missing = np.zeros(last - first), np.ones(last - first, bool)
    low, high = max(first, 0), min(last, len(strain))
    inside = slice(low - first, high - first)
    values[inside] = strain[low:high]
    missing[inside] = ~usable[low:high]
    values[missing] = 0
    return values, missing


def widen(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return a mask (n,) with every run of True longer by `reach` at both ends.

    What lies beyond the ends of the mask counts as True.
    """
    wide = mask.copy()
    for low, high in find_runs(mask).tolist():
        wide[max(low - reach, 0) : high + reach] = True
    if reach:
        wide[:reach] = wide[-reach:] = True
    return wide
