"""The near-optimal statistic: the likelihood ratio of "a signal" against "noise alone".

For a binary of known shape, place, time and orientation, the detectors' filters add coherently to
one complex SNR Z of unit noise, and a signal of network SNR rho and phase phi has the likelihood
ratio exp(rho Re(Z exp(-i phi)) - rho^2 / 2). What is not known is averaged over its prior: the
phase gives exp(-rho^2 / 2) I0(rho |Z|), the SNR an integral that is tabulated (amplitude_prior.py),
and templates, times, sky positions, polarisations and inclinations are summed over. By the lemma
of Neyman and Pearson no statistic finds more signals at any false-alarm probability, up to the
templates (whose spins are aligned) and draws being finite.

It is near-optimal in Gaussian noise of known curves. Of a family of curves it knows the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.detection.amplitude_prior import TABLE_STEPS, AmplitudePrior
from benchmarks.detection.holdout import Holdout
from benchmarks.detection.templates import BANK_SEED, TemplateBank, network_power
from physics.constants import SIDEREAL_TIME
from physics.detectors import Network
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.sites import longest_delay
from runtime.console import progress
from runtime.errors import UserError
from runtime.seeds import counted_seed

STEP = 2  # samples between arrival times


def interpolation_reach(observation: Observation, step: int = STEP) -> tuple[int, ...]:
    """Return how many steps around an arrival time each detector's series is interpolated from.

    Light needs up to 10.0 ms from Hanford to Livingston and 27.3 ms to Virgo. A cubic takes four
    points, one before and two after.
    """
    first, *others = observation.detectors
    steps = (longest_delay(first, name) * observation.sample_rate / step for name in others)
    return (0, *(math.ceil(delay) + 2 for delay in steps))


# --- the prior, drawn ------------------------------------------------------------------------


@dataclass(frozen=True)
class Orientations:
    """Draws of sky position, polarisation and inclination.

    Attributes:
        response: (draw, detector) complex128, F+ (1 + cos^2 i) / 2 + i Fx cos i. The strain at
            the detector is the real part of its conjugate times the template p + i q.
        delay: (draw, detector) float64, arrival time less that at the first detector, in s.
    """

    response: np.ndarray
    delay: np.ndarray


def draw_orientations(
    count: int,
    observation: Observation = COMPETITION,
    population: Population = COMPETITION_POPULATION,
    seed: int = BANK_SEED,
) -> Orientations:
    """Draw from the population's law: isotropic, or weighted by the amplitude in the network.

    By rejection, as `SignalGenerator.draw_orientations`, of which this is the same law for
    binaries that do not precess.
    """
    generator = torch.Generator().manual_seed(counted_seed(seed, "orientations"))
    rng = np.random.default_rng(counted_seed(seed, "own orientations"))
    weights = torch.tensor(population.detector_weights(observation.detectors))
    network = Network(observation.detectors)
    responses, delays, found = [], [], 0
    while found < count:
        uniform = torch.rand((5, 4 * count), generator=generator)
        directions = {
            "longitude": math.tau * uniform[0],
            "dec": (2 * uniform[1] - 1).asin(),
            "psi": math.pi * uniform[2],
            "cos_i": 2 * uniform[3] - 1,
        } | directions_of_law(population, 4 * count, rng)
        longitude, dec, psi, cos_i = directions.values()
        plus, cross = network.antenna_patterns(longitude, dec, psi)  # (candidate, detector)
        along, across = plus * ((1 + cos_i**2) / 2)[:, None], cross * cos_i[:, None]
        accepted = torch.ones(len(cos_i), dtype=torch.bool)
        if population.sky == "amplitude":
            amplitude = (weights * (along**2 + across**2)).sum(1).sqrt()
            accepted = uniform[4] * weights.sum().sqrt() < amplitude
        arrival = network.delays(longitude, dec)
        responses.append(torch.complex(along.double(), across.double())[accepted])
        delays.append((arrival - arrival[:, :1]).double()[accepted])
        found += int(accepted.sum())
    return Orientations(torch.cat(responses)[:count].numpy(), torch.cat(delays)[:count].numpy())


def directions_of_law(
    population: Population, count: int, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Return the directions that the population does not draw isotropically, each (count,)."""
    if population.orientation == "isotropic" and population.prior is None:
        return {}
    drawn = population.draw(count, rng)
    found = {name: drawn[name] for name in ("dec", "psi") if name in drawn}
    if "ra" in drawn:
        found["longitude"] = drawn["ra"] - SIDEREAL_TIME
    found["cos_i"] = np.cos(drawn["theta_jn"])
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in found.items()}


# --- the coherent sum ------------------------------------------------------------------------


def interpolation(delay: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how a series at a delay follows from its samples, by a cubic (Lagrange).

    Args:
        delay: (draw,) in steps.
        reach: samples from -reach to reach are at hand.

    Returns:
        Weights (draw, 2 reach + 1), and the delay less each sample's own, in steps, likewise.

    Raises:
        ValueError: a delay is out of reach.
    """
    offsets = np.arange(-reach, reach + 1)
    lag = delay[:, None] - offsets  # (draw, offset)
    first = np.floor(delay).astype(int) - 1
    if first.min() < -reach or first.max() + 3 > reach:
        raise ValueError(f"delays of {delay.min():g} to {delay.max():g} steps exceed {reach}")
    weights = np.zeros_like(lag)
    rows = np.arange(len(delay))
    s = delay - np.floor(delay)  # within the second of three intervals
    cubic = (
        -s * (s - 1) * (s - 2) / 6,
        (s + 1) * (s - 1) * (s - 2) / 2,
        -(s + 1) * s * (s - 2) / 2,
        (s + 1) * s * (s - 1) / 6,
    )
    for place, weight in enumerate(cubic):
        weights[rows, first + place + reach] = weight
    return weights, lag


@dataclass(frozen=True)
class Group:
    """Some draws with similar delays.

    Attributes:
        columns: (used,) which of the samples around an arrival time they take.
        weights: (2 used, 2 draws) float32: real and imaginary parts of the samples to those of
            Z sqrt(TABLE_STEPS).
        members: (draws,) which draws they are.
    """

    columns: torch.Tensor
    weights: torch.Tensor
    members: torch.Tensor


def coherent_groups(
    orientations: Orientations,
    scale: np.ndarray,
    centre: float,
    size: int = 125,
    device: torch.device | str = "cpu",
    observation: Observation = COMPETITION,
) -> list[Group]:
    """Return the matrices that take one template's samples around a time to Z of every draw.

    Z = sum_d a_d n_d z_d(t + tau_d) / sqrt(sum_d |a_d n_d|^2), with a the response, n the norms of
    the template, z its SNR series and tau the delays. Between samples, z is interpolated with its
    mean frequency taken out, which leaves a series that changes slowly. Draws are grouped by their
    delays, so that a product need not run over the zeros of all.

    Args:
        scale: (detector,) norms of the template.
        centre: its mean frequency in Hz.
        size: draws in a group.
        observation: its detectors and sampling rate.
    """
    rate, reach = observation.sample_rate, interpolation_reach(observation)
    weighted = orientations.response * scale
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    parts = [weighted[:, :1]]
    for d in range(1, observation.num_detectors):
        delay = orientations.delay[:, d] * (rate / STEP)
        cubic, lag = interpolation(delay, reach[d])
        turns = centre * lag * (STEP / rate)
        parts.append(weighted[:, d : d + 1] * cubic * np.exp(2j * np.pi * turns))
    matrix = np.concatenate(parts, axis=1) * math.sqrt(TABLE_STEPS)  # (draw, column)
    groups = []
    for members in groups_of_delays(orientations.delay, size):
        part = matrix[members]
        columns = np.flatnonzero(np.abs(part).max(0))
        real, imag = part[:, columns].real.T, part[:, columns].imag.T  # (used, draw)
        weights = np.block([[real, imag], [-imag, real]])
        groups.append(
            Group(
                torch.from_numpy(columns).to(device),
                torch.tensor(weights, dtype=torch.float32, device=device),
                torch.from_numpy(members).to(device),
            )
        )
    return groups


def groups_of_delays(delay: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield the numbers of at most `size` draws with similar delays, until all have had a turn.

    The sky is cut into strips by the delay at the last detector, which in the competition is the
    farthest, and each strip is ordered by the delay at the second one.

    Args:
        delay: (draw, detector).
    """
    order = np.argsort(delay[:, -1])
    if delay.shape[1] > 2:
        strips = np.array_split(order, max(round(math.sqrt(len(order) / size)), 1))
        order = np.concatenate([strip[np.argsort(delay[strip, 1])] for strip in strips])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def samples_around(
    series: torch.Tensor, rows: torch.Tensor, times: torch.Tensor, reach: Sequence[int]
) -> torch.Tensor:
    """Return one template's samples that Z needs at some arrival times.

    Args:
        series: (rows, detector, time) complex64.
        rows, times: (cell,) which of them; `times` counts the whole time axis.
        reach: of each detector, see `interpolation_reach`.

    Returns:
        (cell, 2, column) float32: real and imaginary parts; the columns are the first detector at
        the time, and each of the others from -reach to reach around it.
    """
    parts = [series[rows, 0, times][:, None]]
    for d, steps in enumerate(reach[1:], 1):
        windows = series[:, d].unfold(-1, 2 * steps + 1, 1)  # (rows, first, offset)
        parts.append(windows[rows, times - steps])
    columns = torch.cat(parts, dim=1)  # (cell, column)
    return torch.stack([columns.real, columns.imag], dim=1)


class CoherentSearch:
    """Sums the likelihood ratio of data over templates, times and orientations.

    Args:
        bank: its templates, filtered at every second sample.
        orientations: the draws.
        population: whose law of SNR or distance is the prior.
        share: of a sample's pairs of template and time, those summed over: the ones with the
            largest incoherent SNR, which the coherent one cannot exceed.
    """

    AT_ONCE = 512  # cells: their coherent SNRs fit a core's cache

    def __init__(
        self, bank: TemplateBank, orientations: Orientations, population: Population, share: float
    ) -> None:
        self.bank, self.share = bank, share
        self.draws = len(orientations.delay)
        self.reach = interpolation_reach(bank.observation)
        middle = bank.norms.shape[-1] // 2
        scales = bank.norms[:, :, middle].double().cpu().numpy()  # (detector, template)
        self.groups = [
            coherent_groups(
                orientations,
                scales[:, j],
                float(bank.centres[j]),
                device=bank.device,
                observation=bank.observation,
            )
            for j in range(len(bank))
        ]
        # The SNR of every draw and template at the distance of the bank, (draw, template).
        at_bank = np.sqrt(np.square(np.abs(orientations.response)) @ np.square(scales))
        self.prior = AmplitudePrior(population, at_bank, bank.chirp_masses, bank.device)

    def detection_statistics(self, spectra: torch.Tensor) -> torch.Tensor:
        """Return log of the mean likelihood ratio and the largest |Z| of some rows, (2, rows).

        Args:
            spectra: (rows, detector, frequency), as `TemplateBank.spectra_of` gives them.
        """
        bank = self.bank
        series = bank.snr_series(spectra, slice(None))  # (rows, detector, template, time)
        power = network_power(series.real.square() + series.imag.square(), bank)
        chosen = self.choose(power)
        total = torch.zeros(len(spectra), dtype=torch.float64, device=bank.device)
        largest = torch.zeros(len(spectra), device=bank.device)
        for template in range(len(self.groups)):
            rows, times = chosen[:, template].nonzero(as_tuple=True)
            own = series[:, :, template]
            for part in torch.arange(len(rows), device=bank.device).split(self.AT_ONCE):
                times_of_part = times[part] + bank.inner.start
                around = samples_around(own, rows[part], times_of_part, self.reach)
                sums, most = self.sum_over_draws(around, template)
                total.index_add_(0, rows[part], sums)
                largest.scatter_reduce_(0, rows[part], most, "amax")
        cells = power[0].numel()  # those left out count as nothing
        return torch.stack(
            [(total / (cells * self.draws)).log(), (largest / TABLE_STEPS).double().sqrt()]
        )

    def choose(self, power: torch.Tensor) -> torch.Tensor:
        """Return which cells of (rows, template, time) are summed over."""
        flat = power.flatten(1)
        count = max(math.ceil(self.share * flat.shape[1]), 1)
        # no more than a few cells have the same SNR as the last
        least = flat.kthvalue(flat.shape[1] - count + 1, dim=1).values
        return power >= least[:, None, None]

    def sum_over_draws(
        self, around: torch.Tensor, template: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum of the likelihood ratios and the largest |Z|^2 TABLE_STEPS of cells.

        Args:
            around: (cell, 2, column), from `samples_around`.
            template: its number.
        """
        total = torch.zeros(len(around), dtype=torch.float64, device=around.device)
        largest = torch.zeros(len(around), device=around.device)
        for group in self.groups[template]:
            taken = around[:, :, group.columns].flatten(1)  # (cell, 2 used)
            real, imag = (taken @ group.weights).chunk(2, dim=1)  # (cell, draw) each
            square = (real * real).addcmul_(imag, imag)
            largest = torch.maximum(largest, square.amax(1))
            total += self.prior.mean_likelihood(square, group.members, template).sum(1)
        return total, largest


@dataclass(frozen=True)
class NearOptimal:
    """The likelihood ratio, and the coherent matched filter's maximum.

    Attributes:
        samples: how many of the hold-out's samples, from the first.
        templates, draws: how many.
        share: see `CoherentSearch`.
        snr: bounds of the prior; without effect where the hold-out's distances have a law.
    """

    samples: int = 4000
    templates: int = 60
    draws: int = 1500
    share: float = 0.2
    snr: tuple[float, float] = Population.snr
    WHITENED, ROWS = 256, 32  # samples at a time

    def __post_init__(self) -> None:
        if self.samples < 4:
            raise UserError(f"--near_optimal {self.samples}: expected 0 for none, or 4 or more")
        if not 0 < self.share <= 1:
            raise UserError(f"--share {self.share:g}: expected above 0, and 1 for all")

    @property
    def key(self) -> str:
        return f"near-optimal, {self.templates} templates"

    @property
    def names(self) -> tuple[str, str]:
        return self.key, f"coherent maximum, {self.templates} templates"

    def settings(self) -> dict[str, Any]:
        return {
            "format": 1,
            "samples": self.samples,
            "templates": self.templates,
            "draws": self.draws,
            "share": self.share,
            "snr": list(self.snr),
            "seed": BANK_SEED,
        }

    def rows(self, holdout: Holdout) -> int:
        return min(self.samples, len(holdout))

    @torch.inference_mode()
    def compute(
        self, holdout: Holdout, device: torch.device, show_progress: bool | None = None
    ) -> np.ndarray:
        """Return the scores (2, rows) in the order of `names`: a logarithm and an SNR."""
        observation = holdout.settings.observation
        population = replace(holdout.settings.population, snr=self.snr)
        bank = TemplateBank(self.templates, STEP, device, observation, population)
        orientations = draw_orientations(self.draws, observation, population)
        search = CoherentSearch(bank, orientations, population, self.share)
        count = self.rows(holdout)
        parts = []
        with progress(total=count, desc="near-optimal", unit="sample", show=show_progress) as bar:
            for spectra in self.spectra(bank, holdout, count, device):
                parts.append(search.detection_statistics(spectra).cpu().numpy())
                bar.update(len(spectra))
        return np.concatenate(parts, axis=1)

    def spectra(
        self, bank: TemplateBank, holdout: Holdout, count: int, device: torch.device
    ) -> Iterator[torch.Tensor]:
        for start in range(0, count, self.WHITENED):
            strain = holdout.batch(start, min(start + self.WHITENED, count), device)
            yield from bank.spectra_of(strain).split(self.ROWS)
