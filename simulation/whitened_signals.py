"""Whitened signals, drawn at a seventh of the cost of whitening them by the dense matrix."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from physics.cache_folder import cache_folder
from physics.constants import STRAIN_UNIT
from physics.noise import FLOOR, keep_matrix
from physics.signals import SignalGenerator
from runtime.float32_precision import full_precision
from signal_transforms.whitening import Whiten
from signal_transforms.whitening_operators import remove_low_frequencies

FITTED = 2048  # signals that the correction of the edges is fitted to
FITTED_AT_A_TIME = 64
RANK = 48  # of the correction
RIDGE = 1e-8  # of the fit, as a fraction of the mean square of what it is fitted from
FINE = 64  # bins in the finer of two tables of phase factors, see `phase_factors`
FORMAT = 1  # of kept corrections; raise it when the same signals would give others
EDGE_FRACTION = 16  # the correction depends on the first sixteenth of the window, among others


class WhitenedSignals:
    """Draws of a `SignalGenerator`, whitened as `Whiten` does it, to some parts in a thousand.

    Far from the edges of the window the exact whitening C^(-1/2) is a division of the spectrum by
    the amplitude spectral density. That is almost free here, because signals are made from their
    spectra, and decimation just leaves bins out. Near an edge C^(-1/2) does something else. The
    difference is linear in the signal around the edge and has a low rank; it is fitted by least
    squares to signals that were also whitened exactly (`fit_edges`). The median difference from
    the exact whitening is 2.6 % of a signal without this correction and 0.3 % with it.

    Names: "stretch" is the periodic series that a signal's spectrum stands for (2.625 s in the
    competition), sampled at the decimated rate; the window is its beginning.

    Args:
        signals: draws them.
        whiten: a `Whiten` of the design curves that decimates without a band.
        corrected: correct at the edges. The fit takes seconds and is kept on disk. Signals that are
            whitened by other PSDs than those of the design curves have no correction.
    """

    def __init__(self, signals: SignalGenerator, whiten: Whiten, corrected: bool = True) -> None:
        self.signals, self.decimate, device = signals, whiten.decimate, signals.device
        # In samples at the decimated rate.
        self.size, self.length = (
            signals.series.stretch // self.decimate,
            whiten.observation.num_samples // self.decimate,
        )
        bins = self.size // 2 + 1
        observation = whiten.observation
        self.noises = [observation.noise(d) for d in range(observation.num_detectors)]
        power = np.stack(
            [noise.psd_on_grid(signals.series.stretch, FLOOR) for noise in self.noises]
        )  # (detector, frequency), one-sided
        # White noise of unit variance has the one-sided PSD 2 / rate: divide by the root of
        # PSD * rate / 2.
        self.sample_rate, self.lowest = observation.sample_rate, whiten.lowest
        gain_of_all = 1 / np.sqrt(power * self.sample_rate / 2)  # (detector, frequency)
        # The inverse transform of 1/d of the samples is d times as large; a decimation that keeps
        # norms makes it sqrt(d) larger. The rest is a factor of 1 / sqrt(d).
        gain = gain_of_all[:, :bins] / math.sqrt(self.decimate)
        gain[:, -1] = 0  # a decimated series holds what lies below its Nyquist frequency
        squared_beyond = torch.tensor(gain_of_all[:, bins - 1 :] ** 2, dtype=torch.float32)
        self.squared_beyond = squared_beyond.to(device)  # (detector, frequency)
        self.power_beyond = self.products_beyond(signals.spectra)
        # Real and imaginary parts have the same gain: (detector, frequency, 2).
        gain = np.repeat(gain[..., None], 2, axis=-1)
        self.gain = torch.tensor(gain, dtype=torch.float32, device=device)
        options = {"dtype": torch.float64, "device": device}
        self.coarse_bins = torch.arange(0, bins, FINE, **options)
        self.fine_bins = torch.arange(FINE, **options)
        if corrected:
            self.right, self.left = self.keep_edges(whiten)

    def products_beyond(self, spectra: Tensor) -> Tensor:
        """Return what decimation leaves out of each waveform, as products of its polarisations.

        A detector sees h = F+ h+ + Fx hx. The power of its whitened high frequencies is therefore
        F+^2 <h+, h+> + Fx^2 <hx, hx> + F+ Fx 2 <h+, hx>, and these three products, which belong to
        the waveform, are computed once. An orbital phase turns h+ and hx alike and changes none.

        Args:
            spectra: of waveforms, (waveform, 2, frequency).

        Returns:
            (waveform, detector, 3).
        """
        squared, parts = self.squared_beyond, []
        first = spectra.shape[-1] - squared.shape[-1]  # bin that is left out, with all above it
        for part in spectra[:, :, first:].split(256):
            plus, cross = part.unbind(1)  # (waveforms, frequency)
            products = [plus.abs() ** 2, cross.abs() ** 2, 2 * (plus * cross.conj()).real]
            with full_precision(self.signals.device.type):
                # (waveforms, frequency) @ (frequency, detector), three times
                parts.append(torch.stack([term @ squared.T for term in products], dim=-1))
        # Parseval: sum_t x_t^2 = sum_k |X_k|^2 / N, and all bins but two stand for two of them.
        return torch.cat(parts) * (2 / self.signals.series.stretch)

    def replace_binaries(self, first: int, waveforms: np.ndarray, parameters: np.ndarray) -> None:
        """Put other binaries in the place of some; see `SignalGenerator.replace_binaries`."""
        self.signals.replace_binaries(first, waveforms, parameters)
        rows = slice(first, first + len(waveforms))
        self.power_beyond[rows] = self.products_beyond(self.signals.spectra[rows])

    def phase_factors(self, shift: Tensor) -> Tensor:
        """Return exp(-2 pi i shift k) of every bin k: (rows, detector, frequency) complex64.

        With k = FINE c + f it is a product of a factor of c and one of f, so that sines and
        cosines are needed for two short tables only.

        Args:
            shift: (rows, detector) float64, as a fraction of the stretch.
        """
        tables = []
        for bins in (self.coarse_bins, self.fine_bins):
            turns = shift[..., None] * bins  # (rows, detector, bins of the table), float64
            # Whole turns are subtracted in float64; the rest fits float32.
            angle = -math.tau * (turns - turns.round())
            tables.append(torch.complex(angle.cos().float(), angle.sin().float()))
        coarse, fine = tables
        product = coarse[..., None] * fine[..., None, :]  # (rows, detector, coarse, fine)
        # (rows, detector, coarse, fine) -> (rows, detector, coarse x fine), and no more than bins
        return product.flatten(-2)[..., : self.gain.shape[1]]

    def antenna_patterns(self, drawn: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return F+ and Fx of drawn signals, each (rows, detector)."""
        return self.signals.network.antenna_patterns(drawn["longitude"], drawn["dec"], drawn["psi"])

    def whitened_stretch(
        self,
        drawn: Mapping[str, Tensor],
        patterns: tuple[Tensor, Tensor],
        gain: Tensor | None = None,
    ) -> Tensor:
        """Return signals at the distance of the bank, whitened as if the window had no edges.

        Args:
            drawn: what `SignalGenerator.draw_placements` returns.
            patterns: F+ and Fx at those places, each (rows, detector).
            gain: what the spectrum of each row and detector is multiplied by, (rows, detector,
                frequency); None for the design curves.

        Returns:
            (rows, detector, size): the window, what follows it and, since the stretch is periodic,
            what precedes it.
        """
        plus, cross = patterns
        delays = self.signals.network.delays(drawn["longitude"], drawn["dec"])
        arrival = drawn["merger_time"][:, None] + delays  # (rows, detector), s
        # The bank has its merger at sample `before`. A decimating cosine transform puts its
        # n-th sample in the middle of the d samples that it stands for, (d - 1) / 2 after the
        # first of them.
        begin = self.signals.series.before + (self.decimate - 1) / 2
        shift = (arrival.double() * self.sample_rate - begin) / self.signals.series.stretch
        # An orbital phase phi multiplies the spectra of h+ and hx by exp(2 i phi).
        phase = 2 * drawn["phase"][:, None, None]
        response = torch.stack([plus, cross], dim=-1) * torch.complex(phase.cos(), phase.sin())
        bins, gain = self.gain.shape[1], self.gain if gain is None else gain[..., None]
        polarisations = self.signals.spectra[:, :, :bins][drawn["waveform"]]
        # (rows, detector, 2) @ (rows, 2, frequency) -> (rows, detector, frequency)
        spectra = (response @ polarisations).mul_(self.phase_factors(shift))
        torch.view_as_real(spectra).mul_(gain)
        return torch.fft.irfft(spectra, self.size)

    def edges_of(self, stretch: Tensor) -> Tensor:
        """Return what the correction depends on: (..., edge).

        That is what lies outside the window, which the exact whitening does not see, and the
        window's beginning. At the window's end the merger has been over for 0.2 s or more.
        """
        beginning = stretch[..., : self.length // EDGE_FRACTION]
        return torch.cat([stretch[..., self.length :], beginning], dim=-1)

    def keep_edges(self, whiten: Whiten) -> tuple[Tensor, Tensor]:
        """Return what `fit_edges` returns, of which both are kept as one file.

        All processes take what was kept first: with other numbers of threads the last digits
        differ, and results must not depend on that.
        """
        generator = torch.Generator(self.signals.device).manual_seed(0)
        fitted = [
            self.signals.draw_placements(FITTED_AT_A_TIME, generator)
            for _ in range(0, FITTED, FITTED_AT_A_TIME)
        ]
        detectors, edge = len(self.noises), self.size - self.length + self.length // EDGE_FRACTION

        def compute() -> np.ndarray:
            right, left = self.fit_edges(whiten, fitted)
            # (detector, edge, RANK) and (detector, length, RANK) below it -> (rows, RANK)
            return torch.cat([right, left.mT], dim=1).flatten(0, 1).cpu().numpy()

        path = cache_folder() / f"edges-{self.length}-{self.digest(whiten, fitted)}.npy"
        kept = keep_matrix(path, (detectors * (edge + self.length), RANK), compute)
        # (rows, RANK) -> (detector, edge + length, RANK)
        both = torch.tensor(kept, device=self.signals.device).unflatten(0, (detectors, -1))
        return both[:, :edge].contiguous(), both[:, edge:].mT.contiguous()

    def digest(self, whiten: Whiten, fitted: Sequence[Mapping[str, Tensor]]) -> str:
        """Return a digest of all that decides the correction: signals, placements, whitening."""
        signals, network = self.signals, self.signals.network
        used = torch.cat([drawn["waveform"] for drawn in fitted]).unique()
        samples = whiten.observation.num_samples
        maps = [whiten.operator(d, samples, signals.device) for d in range(len(self.noises))]
        matrices = {id(part): part for each in maps for part in each.matrices}  # shared ones once
        settings = (
            *(FORMAT, RANK, RIDGE, EDGE_FRACTION, self.size, self.length, self.decimate),
            *(self.sample_rate, self.lowest, signals.series.before, whiten.unit),
            [self.noises.index(noise) for noise in self.noises],  # which share a curve
        )
        content = (
            *(drawn[name] for drawn in fitted for name in sorted(drawn)),
            *(network.x_arm, network.y_arm, network.travel),
            *(signals.spectra[used], self.gain),
            *matrices.values(),
        )
        hashed = hashlib.blake2b(repr(settings).encode(), digest_size=8)
        for part in content:
            hashed.update(part.cpu().contiguous().numpy())
        return hashed.hexdigest()

    def fit_edges(
        self, whiten: Whiten, fitted: Sequence[Mapping[str, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Fit the correction at the edges, a linear map of low rank.

        With N fitted signals, let E (N, edge) be what `edges_of` returns and M (N, length) what
        is missing, the exactly whitened window less the one that knows no edges. Wanted is a map A
        that minimises |E A - M|^2 + lambda |A|^2. Without a bound on its rank the minimum is
        A = (E^T E + lambda)^(-1) E^T M (ridge regression). The rows of M mostly lie in a space of
        few dimensions with the orthonormal basis V (length, RANK), M ~ M V V^T, so that
        A ~ [(E^T E + lambda)^(-1) E^T M V] V^T: two thin factors, right and left.

        Args:
            whiten: the exact whitening.
            fitted: what `SignalGenerator.draw_placements` returned, batch by batch.

        Returns:
            right (detector, edge, RANK) and left (detector, RANK, length), float32.
        """
        edge_parts, missing_parts = [], []
        with full_precision(self.signals.device.type):
            for drawn in fitted:
                stretch = self.whitened_stretch(drawn, self.antenna_patterns(drawn))
                without_edges = self.window_of(stretch)
                exact = whiten(self.signals.project(**drawn) * STRAIN_UNIT)
                # Every signal counts alike, as in training, where its network SNR is scaled.
                scale = 1 / exact.square().sum((1, 2), keepdim=True).sqrt()
                edge_parts.append((self.edges_of(stretch) * scale).cpu())
                missing_parts.append(((exact - without_edges) * scale).cpu())
        # (rows, detector, edge) and (rows, detector, length): the normal equations need float64
        edges, missing = torch.cat(edge_parts).double(), torch.cat(missing_parts).double()
        right, left = [], []
        for noise in self.noises:  # detectors of one curve share a whitening, fitted together
            same_curve = [other == noise for other in self.noises]
            # (rows, detectors of the curve, ...) -> (N, ...)
            e, m = edges[:, same_curve].flatten(0, 1), missing[:, same_curve].flatten(0, 1)
            v = leading_rows(m, RANK)  # (length, RANK)
            gram = e.T @ e  # E^T E, (edge, edge)
            gram.diagonal().add_(RIDGE * gram.diagonal().mean())  # + lambda
            right.append(torch.linalg.solve(gram, e.T @ (m @ v)))
            left.append(v.T)
        device = self.signals.device
        return torch.stack(right).float().to(device), torch.stack(left).float().to(device)

    def window_of(self, stretch: Tensor) -> Tensor:
        """Return the window of a stretch, without the low frequencies that `Whiten` removes."""
        return remove_low_frequencies(
            stretch[..., : self.length], self.sample_rate / self.decimate, self.lowest
        )

    def whitened_by(self, drawn: Mapping[str, Tensor], gain: Tensor) -> tuple[Tensor, Tensor]:
        """Return signals whitened by other PSDs than the design curves', and their network SNR.

        Each row and detector has its own. There is no correction at the edges.

        Args:
            drawn: what `SignalGenerator.draw_placements` returns.
            gain: (rows, detector, frequency), of `SpectralWhitening.gains` for `stretch_samples`.

        Returns:
            (rows, detector, length), and (rows,): the SNR in the band that is kept.
        """
        stretch = self.whitened_stretch(drawn, self.antenna_patterns(drawn), gain)
        white = self.window_of(stretch)
        return white, white.square().sum((1, 2)).sqrt()

    @property
    def stretch_samples(self) -> int:
        """Samples of a stretch before decimation."""
        return self.size * self.decimate

    def whitened(self, drawn: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return whitened signals at the distance of the bank, and their network SNR.

        Args:
            drawn: what `SignalGenerator.draw_placements` returns.

        Returns:
            (rows, detector, length), and (rows,). The SNR counts what decimation leaves out, too.
        """
        with full_precision(self.signals.device.type):
            patterns = plus, cross = self.antenna_patterns(drawn)
            stretch = self.whitened_stretch(drawn, patterns)
            edges = self.edges_of(stretch).transpose(0, 1)  # (detector, rows, edge)
            missing = (edges @ self.right) @ self.left  # (detector, rows, length)
            white = stretch[..., : self.length] + missing.transpose(0, 1)
            # Noise has nothing at the lowest frequencies: any rest there would give a signal away.
            white = remove_low_frequencies(white, self.sample_rate / self.decimate, self.lowest)
        products = torch.stack([plus**2, cross**2, plus * cross], dim=-1)  # (rows, detector, 3)
        beyond = (products * self.power_beyond[drawn["waveform"]]).sum((1, 2))  # (rows,)
        # rho^2 = |C^(-1/2) h|^2, in the band that is kept and beyond it
        return white, (white.square().sum((1, 2)) + beyond).sqrt()

    def draw_unit_snr(
        self, count: int, generator: torch.Generator | None = None, gain: Tensor | None = None
    ) -> Tensor:
        """Return signals of network SNR one, (count, detector, length) float32.

        Args:
            count: how many.
            generator: on the device; default torch's own.
            gain: as in `whitened_by`; None for the design curves.
        """
        white, snr = self.whitened_as(self.signals.draw_placements(count, generator), gain)
        return white.mul_(1 / snr[:, None, None])

    def whitened_as(
        self, drawn: Mapping[str, Tensor], gain: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what `whitened` returns, or `whitened_by` where a gain is given."""
        return self.whitened(drawn) if gain is None else self.whitened_by(drawn, gain)


def leading_rows(matrix: Tensor, rank: int) -> Tensor:
    """Return an orthonormal basis of the space that a matrix's rows mostly lie in.

    By subspace iteration (Halko, Martinsson and Tropp, SIAM Review 53, 217, 2011).

    Args:
        matrix: (rows, columns) float64.
        rank: of the basis.

    Returns:
        (columns, rank).
    """
    start = np.random.default_rng(0).standard_normal((matrix.shape[1], rank))
    basis = torch.linalg.qr(torch.as_tensor(start))[0]
    for _ in range(4):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis))[0]
    return basis
