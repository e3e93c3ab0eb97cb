"""The likelihood ratio averaged over the SNR, by the population's law of SNR or of distance.

A law of the SNR is the same for all binaries and all their orientations. A law of distance is not:
a binary that would have the SNR rho_0 at the distance of the bank has rho_0 `DISTANCE` / d at the
distance d, so that the prior of its SNR begins lower if it is seen from the side. The average is
tabulated over |Z|^2, for the second kind of law once for each of many rho_0.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from physics.bank_settings import DISTANCE
from physics.population import Population
from runtime.seeds import counted_seed

TABLE_STEPS = 32  # a unit of |Z|^2
TABLE_END = 1400.0  # |Z|^2 from which on the likelihood grows no more; beyond float64 soon after
# Of a law of distance: draws of it, values of the distance that stand for them, and tables, which
# lie apart by a factor in rho_0. The last table serves all that is fainter still.
DRAWS, DISTANCES = 20_000, 80
TABLES, APART = 96, 0.05
COMPUTED = 600  # values of |Z| for which a table is computed


def log_mean_likelihood(z: np.ndarray, rho: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return log of the sum of p exp(-rho^2 / 2) I0(rho z) over values of the SNR rho.

    Args:
        z: |Z|, any shape.
        rho: (value,).
        prior: p, their probabilities (value,).
    """
    from scipy.special import i0e, logsumexp

    product = rho * np.asarray(z)[..., None]
    exponent = product - rho**2 / 2 + np.log(i0e(product) * prior)
    return logsumexp(exponent, axis=-1)


def log_amplitude_likelihood(
    z: np.ndarray, bounds: tuple[float, float], nodes: int = 200
) -> np.ndarray:
    """Return log of the integral of p(rho) exp(-rho^2 / 2) I0(rho z) over the SNR rho.

    p is the prior, proportional to rho^-2 within the bounds. By the rule of Gauss and Legendre in
    the logarithm of rho.

    Args:
        z: |Z|, any shape.
        bounds: of rho.
        nodes: of the integration; rho has to be resolved to better than one.
    """
    low, high = bounds
    x, weight = np.polynomial.legendre.leggauss(nodes)
    rho = low * (high / low) ** ((x + 1) / 2)  # even steps in log rho
    # p(rho) d rho = rho^-2 / (1/low - 1/high) * rho d(log rho)
    prior = weight / 2 * math.log(high / low) / (rho * (1 / low - 1 / high))
    return log_mean_likelihood(z, rho, prior)


def middles_of_table() -> np.ndarray:
    """Return |Z| in the middle of each entry of a table."""
    entries = round(TABLE_END * TABLE_STEPS)
    return np.sqrt((np.arange(entries) + 0.5) / TABLE_STEPS)


def likelihood_table(bounds: tuple[float, float]) -> torch.Tensor:
    """Return the integral of `log_amplitude_likelihood`, (entry,) float64.

    Entry k holds it in the middle of |Z|^2 = k / TABLE_STEPS to (k + 1) / TABLE_STEPS: within one
    percent of what it is at either end.
    """
    # In parts, as all entries times all nodes would not fit a cache.
    parts = [log_amplitude_likelihood(z, bounds) for z in np.array_split(middles_of_table(), 32)]
    return torch.from_numpy(np.exp(np.concatenate(parts)))


def loudness_of_distances(population: Population, chirp_mass: float) -> np.ndarray:
    """Draw `DISTANCE` / d by the population's law of the distance d, (draw,).

    Where a distance is drawn with the masses, it is that of any binary of the population.

    Args:
        chirp_mass: of the binary, in the detector frame, solar masses.
    """
    if population.binds_distance:
        rng = np.random.default_rng(counted_seed(0, "distances"))
        return DISTANCE / population.draw(DRAWS, rng)["luminosity_distance"]
    u = (np.arange(DRAWS) + 0.5) / DRAWS  # evenly, in place of random numbers
    return DISTANCE / population.distance.distance(u, np.full(DRAWS, chirp_mass))


class AmplitudePrior:
    """The likelihood ratio of a coherent SNR Z, averaged over the SNR of the signal.

    Args:
        population: its law of the SNR, or of the distance where it has one.
        snr: SNR of every draw and template at the distance of the bank, (draw, template).
        chirp_masses: (template,) in the detector frame, solar masses.
        device: where the tables lie.
    """

    def __init__(
        self,
        population: Population,
        snr: np.ndarray,
        chirp_masses: np.ndarray,
        device: torch.device | str = "cpu",
    ) -> None:
        self.entries = round(TABLE_END * TABLE_STEPS)
        self.first: torch.Tensor | None = None  # (draw, template), of the table in all of them
        if not population.has_distance:
            self.table = likelihood_table(population.snr).to(device)
            return
        loudness = loudness_of_distances(population, chirp_masses[0])
        # Laws of the distance that know the chirp mass scale with it: others have a factor of one.
        own = [loudness_of_distances(population, mass).mean() for mass in chirp_masses]
        rho_0 = snr * (np.array(own) / loudness.mean())  # (draw, template)
        table = np.log(rho_0.max() / rho_0) / APART
        numbers = np.minimum(np.rint(table), TABLES - 1).astype(np.int32)
        self.first = torch.tensor(numbers * self.entries, dtype=torch.int32, device=device)
        counts, edges = np.histogram(np.log(loudness), DISTANCES)
        used = counts > 0
        rho = np.exp((edges[1:] + edges[:-1]) / 2)[used] * rho_0.max()
        prior = counts[used] / DRAWS
        # The logarithm is smooth in |Z|: fewer values are computed, and the rest interpolated.
        z = middles_of_table()
        computed = np.linspace(0, z[-1], COMPUTED)
        tables = [
            np.interp(
                z, computed, log_mean_likelihood(computed, rho * math.exp(-APART * number), prior)
            )
            for number in range(int(numbers.max()) + 1)
        ]
        self.table = torch.from_numpy(np.exp(np.concatenate(tables))).to(device)

    def mean_likelihood(
        self, square: torch.Tensor, draws: torch.Tensor, template: int
    ) -> torch.Tensor:
        """Return the averaged likelihood ratios, (cell, draw) float64.

        Args:
            square: |Z|^2 `TABLE_STEPS`, (cell, draw) float32; it is changed in place.
            draws: (draw,) which draws these are.
            template: its number.
        """
        entries = square.clamp_(max=self.entries - 1).int()
        if self.first is not None:
            entries += self.first[draws, template]
        return self.table.index_select(0, entries.flatten()).view(entries.shape)
