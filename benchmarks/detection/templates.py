"""A bank of matched filters: whitened aligned-spin templates at every arrival time.

The filter of a template h that arrives at time t is h_t^T C^(-1) x, with C the covariance of the
noise in a window. It is a correlation of h with C^(-1) x, which vanishes outside the window, so
that Fourier transforms give it exactly at every t, edges included. Only its norm |C^(-1/2) h_t| is
interpolated between arrival times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.detection.holdout import Holdout
from physics.bank_settings import BankSettings, draw_parameters
from physics.constants import STRAIN_UNIT
from physics.noise import whitening_matrix
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population, chirp_mass
from physics.sites import longest_delay
from physics.waveforms import compute_waveforms
from runtime.console import progress
from runtime.optional_packages import require

# s that the filters look before the earliest and after the latest arrival at the geocentre: light
# needs up to 21.3 ms from there to a detector.
AROUND_ARRIVALS = 0.03
# Delays with respect to the first detector, s. Those of the competition's detectors are the ones
# that the recorded ceilings were computed with; others are the time that light needs, and a margin.
RECORDED_DELAYS = {("H1", "L1"): 0.0105, ("H1", "V1"): 0.027}
DELAY_MARGIN = 0.0005  # s
# Arrival times beyond these, for delays and interpolation, s; and between times at which norms are
# computed.
LEAST_MARGIN = NORM_STEP = 1 / 32
INTERPOLATED = 3  # steps that an interpolation may reach beyond a delay
BANK_SEED = 1000  # neither of training nor of the hold-out


def template_settings(
    count: int,
    observation: Observation = COMPETITION,
    population: Population = COMPETITION_POPULATION,
) -> BankSettings:
    """Return the settings of a bank of templates.

    Raises:
        UserError: the window does not hold the population.
    """
    return BankSettings.of(population, observation, count, BANK_SEED)


def aligned_parameters(settings: BankSettings) -> np.ndarray:
    """Draw binaries of the population with their spins projected onto the orbital axis, face on.

    Returns:
        (size, columns) in the order of `Population.columns`.
    """
    parameters = draw_parameters(settings)
    column = {name: place for place, name in enumerate(settings.population.columns)}
    for body in ("1", "2"):
        spin, tilt = column[f"a_{body}"], column[f"tilt_{body}"]
        aligned = parameters[:, spin] * np.cos(parameters[:, tilt])
        parameters[:, spin], parameters[:, tilt] = np.abs(aligned), np.where(aligned < 0, np.pi, 0)
    for name in ("phi_12", "phi_jl", "theta_jn"):
        parameters[:, column[name]] = 0
    return parameters


def arrival_bounds(observation: Observation, population: Population) -> tuple[float, float]:
    """Return the first and the last arrival time at a detector that filters look at, s."""
    earliest, latest = population.merger_range(observation.window)
    return earliest - AROUND_ARRIVALS, latest + AROUND_ARRIVALS


def largest_delays(detectors: Sequence[str]) -> tuple[float, ...]:
    """Return the largest delay of each detector with respect to the first one, s."""
    first, *others = detectors
    delays = (
        RECORDED_DELAYS.get((first, name), longest_delay(first, name) + DELAY_MARGIN)
        for name in others
    )
    return (0.0, *delays)


def twice_whitened(strain: torch.Tensor, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return C^(-1) x in 1 / (1e-21 strain) of strain x, both (rows, detector, time) float32."""
    scaled = strain / STRAIN_UNIT
    rows = [scaled[:, d] @ matrix @ matrix for d, matrix in enumerate(matrices)]
    return torch.stack(rows, dim=1)


def whitening(
    observation: Observation = COMPETITION, device: torch.device | str = "cpu"
) -> list[torch.Tensor]:
    """Return C^(-1/2) of every detector, each (time, time) float32; those of one curve share it.

    Raises:
        UserError: the window is too long for a matrix.
    """
    found: dict[bytes, torch.Tensor] = {}
    matrices = []
    for channel in range(observation.num_detectors):
        matrix = whitening_matrix(observation.noise(channel), observation.num_samples)
        key = matrix[0].tobytes()
        if key not in found:
            found[key] = torch.from_numpy(matrix).to(device)
        matrices.append(found[key])
    return matrices


class TemplateBank:
    """Templates, and the SNR series of data filtered with them.

    An aligned-spin binary of any inclination is a mixture of two quadratures, its face-on h+ = p
    and the Hilbert transform q of that. A template is the analytic series u = p + i q.

    Args:
        count: how many templates.
        step: samples from one arrival time to the next, 1 or 2: u has no negative frequencies, so
            that half as many complex numbers hold all of its filter.
        device: where to filter.
        observation: detectors, sampling, window and noise.
        population: the laws that the templates are drawn from, and when mergers arrive.

    Attributes:
        times: (time,) arrival times in s, somewhat wider than `arrival_bounds` on either side.
        inner: the slice of `times` within these bounds.
        halves: largest delay of each detector, in steps, rounded down.
        norms: (detector, template, time) float32, |C^(-1/2) p_t| at the distance of the bank.
        centres: (template,) mean frequency of the whitened template, in Hz.
        chirp_masses: (template,) in the detector frame, solar masses.

    Raises:
        UserError: LALSuite is not installed, or the window does not hold the population or is too
            long for a whitening matrix.
    """

    def __init__(
        self,
        count: int,
        step: int = 1,
        device: torch.device | str = "cpu",
        observation: Observation = COMPETITION,
        population: Population = COMPETITION_POPULATION,
    ) -> None:
        require("lalsimulation", "sim")
        self.step, self.device, self.observation = step, torch.device(device), observation
        rate = observation.sample_rate
        settings = template_settings(count, observation, population)
        self.series = settings.series
        self.matrices = whitening(observation, device)
        parameters = aligned_parameters(settings)
        self.chirp_masses = chirp_mass(parameters[:, 0], parameters[:, 1])  # PARAMETERS come first
        plus = compute_waveforms(parameters, settings)[:, 0]
        spectra = torch.fft.rfft(torch.from_numpy(plus))  # (template, stretch // 2 + 1)
        spectra[:, [0, -1]] = 0  # neither has a quadrature
        self.conjugates = (2 * spectra.conj()).to(device)
        delays = largest_delays(observation.detectors)
        self.halves = tuple(math.floor(delay * rate / step) for delay in delays)
        # In steps, on either side of the arrival times.
        margin = max(LEAST_MARGIN, max(delays) + INTERPOLATED * step / rate)
        margin = math.ceil(margin * rate / step)
        first, last = (
            round(t * rate / step) * step for t in arrival_bounds(observation, population)
        )
        samples = np.arange(first - margin * step, last + margin * step + step, step)
        self.times = samples / rate
        self.inner = slice(margin, len(samples) - margin)
        self.norms = self.compute_norms(spectra, samples).to(device)
        stretch = self.series.stretch
        power = spectra.abs().double() ** 2 / torch.tensor(
            observation.noise(0).psd_on_grid(stretch, floor=1.0)
        )  # (template, frequency)
        frequencies = torch.fft.rfftfreq(stretch, 1 / rate).double()
        self.centres = (power @ frequencies) / power.sum(1)
        # The merger of sample m of the window is lag m - before of the correlation, which runs
        # round its end.
        after = self.series.after
        self.lags = slice((int(samples[0]) + after) // step, (int(samples[-1]) + after) // step + 1)

    def __len__(self) -> int:
        return len(self.conjugates)

    def compute_norms(self, spectra: torch.Tensor, samples: np.ndarray) -> torch.Tensor:
        """Return |C^(-1/2) p_t|, the mean square of both quadratures', (detector, template, time).

        Exact every `NORM_STEP` seconds and interpolated between: what of a template lies inside
        the window changes slowly.
        """
        both = torch.stack([spectra, -1j * spectra], dim=1)  # (template, quadrature, frequency)
        series = torch.fft.irfft(both, self.series.stretch).to(self.device)
        apart = max(round(NORM_STEP * self.observation.sample_rate), 1)
        at = np.arange(samples[0], samples[-1] + apart, apart)
        found: dict[int, np.ndarray] = {}  # by matrix
        for matrix in self.matrices:
            if id(matrix) in found:
                continue
            squares = []
            for sample in at:
                start = self.series.before - int(sample)
                window = series[..., start : start + self.observation.num_samples]
                white = window @ matrix  # (template, 2, time)
                squares.append(white.square().sum(-1).mean(-1).cpu().numpy())
            grid = np.stack(squares, axis=1)  # (template, len(at))
            found[id(matrix)] = np.stack([np.interp(samples, at, row) for row in grid])
        stacked = np.stack([found[id(matrix)] for matrix in self.matrices])
        return torch.tensor(np.sqrt(stacked), dtype=torch.float32)

    def spectra_of(self, strain: torch.Tensor) -> torch.Tensor:
        """Return what `snr_series` takes, (rows, detector, stretch // 2 + 1) complex64."""
        return torch.fft.rfft(twice_whitened(strain, self.matrices), self.series.stretch)

    def snr_series(self, spectra: torch.Tensor, templates: slice) -> torch.Tensor:
        """Return the complex SNR of data at every arrival time.

        Its real and imaginary part are the products of the whitened data with the unit whitened
        quadratures p and -q: in noise, of variance one each.

        Returns:
            (rows, detector, template, time) complex64.
        """
        conjugates = self.conjugates[templates]
        size, bins = self.series.stretch // self.step, conjugates.shape[-1]
        if self.step > 1:
            bins = size  # a bin at twice the new Nyquist frequency would fold
        product = spectra[:, :, None, :bins] * conjugates[:, :bins]
        series = torch.fft.ifft(product, size)[..., self.lags]
        return series / (self.norms[:, templates] * self.step)

    def blocks(self, size: int) -> Iterator[slice]:
        """Yield slices of at most `size` templates."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))


def sliding_max(values: torch.Tensor, half: int) -> torch.Tensor:
    """Return the largest of each value and its `half` neighbours on either side.

    Windows of 1, 2, 4, ... samples, each the larger of two of the last: the logarithm of the
    width in passes. The last axis gets shorter by 2 half.
    """
    width = 2 * half + 1
    size = 1
    while 2 * size <= width:
        values = torch.maximum(values[..., : values.shape[-1] - size], values[..., size:])
        size *= 2
    rest = width - size
    if rest:
        values = torch.maximum(values[..., : values.shape[-1] - rest], values[..., rest:])
    return values


def network_power(power: torch.Tensor, bank: TemplateBank) -> torch.Tensor:
    """Add the squared SNR of the detectors, each at its best time within light travel of the first.

    Incoherent: the detectors' phases and amplitudes are free of one another.

    Args:
        power: squared SNR, (rows, detector, template, time).

    Returns:
        (rows, template, time of `bank.inner`).
    """
    total = power[:, 0, :, bank.inner].clone()
    for d, half in enumerate(bank.halves[1:], 1):
        inner = slice(bank.inner.start - half, bank.inner.stop + half)
        total += sliding_max(power[:, d, :, inner], half)
    return total


@dataclass(frozen=True)
class MatchedFilter:
    """Maximum, and log-mean-exp, of the bank's network SNR^2 / 2 over templates and times.

    Attributes:
        templates: how many.
        step: samples from one arrival time to the next, 1 or 2; 2 costs half as much.
    """

    templates: int = 180
    step: int = 1
    key = "matched filter"
    names = ("matched filter, maximum", "matched filter, log-mean-exp")
    WHITENED = 256  # samples at a time, by a matrix of 64 MiB
    ROWS, BLOCK = 4, 20  # samples and templates at a time, of which a core's cache holds a part

    def settings(self) -> dict[str, Any]:
        settings = {"format": 1, "templates": self.templates, "seed": BANK_SEED}
        # Scores of every sample were kept before there was another step, without it.
        return settings if self.step == 1 else settings | {"step": self.step}

    def rows(self, holdout: Holdout) -> int:
        return len(holdout)

    @torch.inference_mode()
    def compute(
        self, holdout: Holdout, device: torch.device, show_progress: bool | None = None
    ) -> np.ndarray:
        """Return the scores (2, samples) in the order of `names`; the maximum is an SNR."""
        settings = holdout.settings
        bank = TemplateBank(
            self.templates,
            self.step,
            device=device,
            observation=settings.observation,
            population=settings.population,
        )
        scores = np.empty((2, len(holdout)))
        with progress(
            total=len(holdout), desc="matched filter", unit="sample", show=show_progress
        ) as bar:
            for start in range(0, len(holdout), self.WHITENED):
                stop = min(start + self.WHITENED, len(holdout))
                spectra = bank.spectra_of(holdout.batch(start, stop, device))
                for part in spectra.split(self.ROWS):
                    scores[:, start : start + len(part)] = (
                        self.detection_statistics(bank, part).cpu().numpy()
                    )
                    start += len(part)
                    bar.update(len(part))
        return scores

    def detection_statistics(self, bank: TemplateBank, spectra: torch.Tensor) -> torch.Tensor:
        """Return maximum and log-mean-exp of some rows, (2, rows) float64."""
        largest, sums, cells = [], [], 0
        for block in bank.blocks(self.BLOCK):
            series = bank.snr_series(spectra, block)
            total = network_power(series.real.square() + series.imag.square(), bank).flatten(1)
            largest.append(total.amax(1))
            sums.append((total / 2).logsumexp(1).double())
            cells += total.shape[1]
        mean = torch.stack(sums).logsumexp(0) - math.log(cells)
        return torch.stack([torch.stack(largest).amax(0).double().sqrt(), mean])
