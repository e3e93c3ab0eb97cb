"""Is what a template found in a detector a signal of that template? The chi-squared test of bands.

A template is divided into p frequency bands that hold 1/p of its power each. In a signal, each band
has 1/p of the SNR as well, with the same phase; in a glitch, which has its power elsewhere, it has
not (Allen, Physical Review D 71, 062001, 2005). With the whitened template h of norm one in two
quadratures, the whitened strain x, and e_j the share of band j in the power of h,

    z_j = sum over band j of x h,      z = sum_j z_j,
    chi^2 = sum_j |z_j - e_j z|^2 / e_j.

In white noise, with or without the signal, the p differences are Gaussian with variances
e_j (1 - e_j) and the covariances - e_j e_k in each quadrature, so that chi^2 has 2 p - 2 degrees of
freedom. It is divided by them here: about 1 for a signal of the template, and far more for a
glitch. A signal of SNR rho whose overlap with its template is m adds up to about
(1 - m^2) rho^2 / (2 p - 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from runtime.errors import UserError

if TYPE_CHECKING:
    from models1d import MatchedFilter1d
    from search.peaks import Peaks

BANDS = 16
FRACTIONS = 8  # arrival times that are tried between two samples


@dataclass(frozen=True)
class Consistency:
    """What a template finds at one place of one detector.

    Attributes:
        snr: |z|, the largest near the place.
        chi_squared: of the bands, divided by its degrees of freedom.
        sample: where in the strain the merger of the template then lies; need not be whole.
    """

    snr: float
    chi_squared: float
    sample: float

    @property
    def reweighted_snr(self) -> float:
        """The SNR, reduced where chi-squared is larger than for a signal.

        By the factor [(1 + chi_r^6) / 2]^(-1/6), chi_r^2 being chi-squared for each degree of
        freedom (Babak et al., Physical Review D 87, 024033, 2013).
        """
        if self.chi_squared <= 1:
            return self.snr
        return self.snr * ((1 + self.chi_squared**3) / 2) ** (-1 / 6)


def measure_consistency(
    white: np.ndarray,
    merger: int,
    reach: int,
    quadratures: np.ndarray,
    before: int,
    bands: int = BANDS,
) -> Consistency:
    """Test the loudest output of a template near a place of whitened strain.

    Args:
        white: (samples,) whitened strain of unit variance; outside it there is silence.
        merger: sample near which the merger lies; may be outside.
        reach: samples before and after it within which the largest output is looked for, such as
            the time that light needs between detectors.
        quadratures: (2, length), the template, each of norm one: of a `MatchedFilter1d` that is
            templates[which][m] @ filters[which].
        before: samples of the template before the merger.
        bands: p.

    Raises:
        UserError: the template has too few frequencies for so many bands.
    """
    length = quadratures.shape[1]
    # The strain that the template sees at the first place, and as much more as it is moved.
    first = merger - reach - before
    indices = np.arange(first, first + length + 2 * reach)
    inside = (indices >= 0) & (indices < len(white))
    seen = np.where(inside, white[np.clip(indices, 0, len(white) - 1)], 0.0)
    z = np.array([np.correlate(seen, row, "valid") for row in quadratures])  # (2, place)
    best = int((z**2).sum(0).argmax())
    cut = seen[best : best + length]
    products, shares = band_products(cut, quadratures, bands)
    total = products.sum(-1, keepdims=True)  # (shift, 2, 1)
    snr = np.sqrt((total**2).sum((1, 2)))  # (shift,)
    chosen = int(snr.argmax())
    differences = products[chosen] - shares * total[chosen]  # (2, band)
    chi_squared = (differences**2 / shares).sum() / (2 * bands - 2)
    shift = fractions_of_a_sample()[chosen]
    return Consistency(float(snr[chosen]), float(chi_squared), merger - reach + best + shift)


def consistency_of_peaks(
    peaks: Peaks,
    white: Mapping[str, np.ndarray],
    network: MatchedFilter1d,
    detectors: Sequence[str],
    start: float,
    rate: float,
    shifts: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Test the template of each peak in each detector.

    A detector is searched within the delays that the network allows with respect to the reference.

    Args:
        peaks: of a filter bank, with the numbers of their templates.
        white: whitened strain of the detectors that have any, (samples,).
        network: the filter bank.
        detectors: names, in the order of its channels.
        start: GPS time of the first sample, s.
        rate: of the whitened strain, Hz.
        shifts: of a time slide, s: at the time t a detector shows its strain of t + shift, on the
            ring that the strain is closed to. Default: none.

    Returns:
        Chi-squared for each degree of freedom, and reweighted SNRs, both (n, D) float32; NaN for
        detectors without strain, peaks without a template, and templates with too few frequencies
        for the bands.
    """
    chi_squared, snr = (np.full((len(peaks), len(detectors)), np.nan, np.float32) for _ in "12")
    for which, channels in enumerate(network.groups):
        filters, templates = (
            x[which].detach().double().cpu().numpy() for x in (network.filters, network.templates)
        )
        for d in channels:
            strain = white.get(detectors[d])
            if strain is None:
                continue
            late = round((shifts or {}).get(detectors[d], 0.0) * rate)  # samples
            reach = (network.grid.reach[d] + 1) * network.stride
            room = network.before + network.after + reach
            for i in np.flatnonzero(peaks.template >= 0):
                merger = round((peaks.time[i] - start) * rate)
                # A piece of the ring in which nothing that is looked at crosses its ends.
                ring = np.arange(merger - room, merger + room + 1)
                if late:
                    ring = (ring + late) % len(strain)
                inside = (ring >= 0) & (ring < len(strain))
                piece = np.where(inside, strain[np.clip(ring, 0, len(strain) - 1)], 0.0)
                quadratures = templates[peaks.template[i]] @ filters  # (2 K, length)
                if len(quadratures) > 2:
                    quadratures = fitted_quadratures(
                        piece, room, reach, quadratures, network.before
                    )
                if find_band_edges(power_of_template(quadratures), BANDS) is None:
                    continue
                found = measure_consistency(piece, room, reach, quadratures, network.before)
                chi_squared[i, d], snr[i, d] = found.chi_squared, found.reweighted_snr
    return chi_squared, snr


def fitted_quadratures(
    white: np.ndarray, merger: int, reach: int, rows: np.ndarray, before: int
) -> np.ndarray:
    """Return the signal that a template of several components fits best, and its quadrature.

    With the quadratures p_k and q_k of the components, all orthonormal, the best fit at a place is
    f = sum_k (x p_k) p_k + (x q_k) q_k, whose SNR is the root of the sum of the squares. q_k is the
    Hilbert transform of p_k, and -p_k that of q_k, so that f has that of
    sum_k (x p_k) q_k - (x q_k) p_k. As f was fitted with K - 1 complex numbers more than one
    template is, its chi-squared is a little smaller.

    Args:
        white, merger, reach, before: see `measure_consistency`.
        rows: (2 K, length), p and q of each component in turn.

    Returns:
        (2, length), each of norm one.
    """
    first, length = merger - reach - before, rows.shape[1]
    indices = np.arange(first, first + length + 2 * reach)
    inside = (indices >= 0) & (indices < len(white))
    seen = np.where(inside, white[np.clip(indices, 0, len(white) - 1)], 0.0)
    z = np.array([np.correlate(seen, row, "valid") for row in rows])  # (2 K, place)
    x_p, x_q = z[:, (z**2).sum(0).argmax()].reshape(-1, 2).T  # (2 K,) -> (K, 2) -> each (K,)
    p, q = rows[0::2], rows[1::2]  # each (K, length)
    fitted = np.stack([x_p @ p + x_q @ q, x_p @ q - x_q @ p])
    return fitted / np.linalg.norm(fitted, axis=1, keepdims=True)


def fractions_of_a_sample() -> np.ndarray:
    """Return the arrival times that are tried around a sample, in samples: from -1/2 to 1/2."""
    return np.arange(-FRACTIONS // 2, FRACTIONS // 2 + 1) / FRACTIONS


def band_products(
    x: np.ndarray, quadratures: np.ndarray, bands: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the products of strain with each band of a template, for shifts below a sample.

    Parseval: sum_t x h is a sum over the frequencies of the discrete Fourier transform. Each band
    is a part of that sum, so that bands of white noise are independent. At 150 Hz half a sample of
    1/1024 s is 0.46 rad, which the bands of a loud signal would differ by: hence the shifts.

    Args:
        x: (length,) whitened strain.
        quadratures: (2, length).
        bands: number of bands.

    Returns:
        Products (shift, 2, band) and the shares e_j of the power of each quadrature, (2, band).

    Raises:
        UserError: a band would hold no frequency.
    """
    length = x.shape[-1]
    frequencies = np.arange(length // 2 + 1) / length  # cycles a sample
    weights = frequency_weights(length)
    template = np.fft.rfft(quadratures)  # (2, frequency)
    power = weights * np.abs(template) ** 2 / length
    edges = band_edges(power.sum(0), bands)
    shares = np.add.reduceat(power, edges, axis=-1) / power.sum(-1, keepdims=True)
    # Strain that arrives s samples late is moved back by s.
    shifts = fractions_of_a_sample()[:, None, None]
    moved = np.fft.rfft(x) * np.exp(2j * np.pi * frequencies * shifts)  # (shift, 1, frequency)
    terms = weights / length * (moved * template.conj()).real  # (shift, 2, frequency)
    return np.add.reduceat(terms, edges, axis=-1), shares


def frequency_weights(length: int) -> np.ndarray:
    """Return how many frequencies each of a real transform stands for, (length // 2 + 1,)."""
    # All frequencies but the first and the last (of an even length) stand for two.
    weights = np.full(length // 2 + 1, 2.0)
    weights[0] = 1
    if length % 2 == 0:
        weights[-1] = 1
    return weights


def power_of_template(quadratures: np.ndarray) -> np.ndarray:
    """Return the power of a template (2, length) at each frequency, (length // 2 + 1,)."""
    length = quadratures.shape[-1]
    return frequency_weights(length) * (np.abs(np.fft.rfft(quadratures)) ** 2 / length).sum(0)


def find_band_edges(power: np.ndarray, bands: int) -> np.ndarray | None:
    """Return the first frequency of each band, so that all bands have nearly the same power.

    Args:
        power: (frequency,).
        bands: number of bands.

    Returns:
        (bands,) of frequencies, None where a band would hold none.
    """
    before = np.cumsum(power) - power  # below each frequency
    edges = np.searchsorted(before, np.arange(bands) / bands * power.sum())
    edges[0] = 0
    return None if (np.diff(edges) < 1).any() or edges[-1] >= len(power) else edges


def band_edges(power: np.ndarray, bands: int) -> np.ndarray:
    """Return what `find_band_edges` finds.

    Raises:
        UserError: there are fewer frequencies with power than bands.
    """
    edges = find_band_edges(power, bands)
    if edges is None:
        raise UserError(
            f"chi-squared: {bands} bands are too many for a template of {len(power)} frequencies, "
            f"most of whose power lies in a few of them: take fewer bands"
        )
    return edges
