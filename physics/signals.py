"""Signals in the detectors: placed on the sky, delayed, scaled to a drawn SNR."""

from __future__ import annotations

import math

import numpy as np
import torch

from physics.bank_settings import DISTANCE
from physics.constants import EARTH_ROTATION, SIDEREAL_TIME, STRAIN_UNIT
from physics.curves import DetectorNoise
from physics.detectors import Network
from physics.noise import autocovariance
from physics.observation import COMPETITION, Observation
from physics.population import PARAMETERS, Population, chirp_mass
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError


def likelihood_filters(noise: DetectorNoise, n: int) -> np.ndarray:
    """Return two filters x and y with h^T C^(-1) h = |x * h|^2 - |y * h|^2, * being correlation.

    The inverse of a symmetric Toeplitz matrix is a difference of products of lower triangular
    Toeplitz matrices, C^(-1) = L(x) L(x)^T - L(y) L(y)^T. L(x) has the first column x, which is
    the first column of C^(-1) divided by the root of its first element; y is
    (0, x_(n-1), ..., x_1) (Gohberg and Semencul, 1972; Kailath, Vieira and Morf, SIAM Review 20,
    106, 1978). L(x)^T h is the correlation of x and h, a few Fourier transforms.

    Args:
        noise: of the detector.
        n: samples of the window.

    Returns:
        x and y, (2, n) float64, in 1 / (1e-21 strain).
    """
    from scipy.linalg import solve_toeplitz

    first = np.zeros(n)
    first[0] = 1.0
    x = solve_toeplitz(autocovariance(noise, n), first)  # Levinson's recursion
    x /= math.sqrt(x[0])
    return np.stack([x, np.concatenate([[0.0], x[:0:-1]])])


# Turns of a phase that float32 holds to 6e-5: as many as a shift has in the competition's series.
LONGEST_IN_FLOAT32 = 8192  # samples of a series


class SignalGenerator:
    """Signals as the detectors see them, scaled to a drawn SNR or placed at a drawn distance.

    A waveform of the bank is used again and again with fresh sky position, polarisation, orbital
    phase, arrival time and SNR or distance. What the population binds to the binary stays with it
    (`Population.columns`).

    Args:
        bank: the waveforms.
        device: where to draw; the bank is copied there.
        population: how signals are placed; default as the binaries' own, with the competition's
            placement.
        members: first and last + 1 of the waveforms to use; default all.
        observation: detectors, sampling, window and noise.

    Raises:
        UserError: the bank is of other binaries or another sampling, or the population does not
            fit the observation.
    """

    # Candidates drawn for each signal at once, so that a GPU need not report how many are accepted
    # before more are drawn. About 0.4 of them are accepted. That none of 64 is happens once in
    # 10^14 signals; the first candidate is taken then.
    CANDIDATES = 64

    def __init__(
        self,
        bank: WaveformBank,
        device: torch.device | str = "cpu",
        population: Population | None = None,
        members: tuple[int, int] | None = None,
        observation: Observation = COMPETITION,
    ) -> None:
        self.device, self.observation = torch.device(device), observation
        n = observation.num_samples
        settings = bank.settings
        self.population = population or settings.population
        self.series, self.columns = settings.series, settings.population.columns
        if self.population.of_binaries() != settings.population:
            raise UserError(
                "the waveform bank was drawn from another population than the one that is asked "
                "for: build it with BankSettings.of(population, observation)"
            )
        if self.series.sample_rate != observation.sample_rate:
            raise UserError(
                f"the waveform bank is sampled at {self.series.sample_rate} Hz and the observation "
                f"at {observation.sample_rate} Hz: build it with BankSettings.of"
            )
        self.merger = self.population.merger_range(observation.window)
        self.members = members or (0, len(bank))
        self.network = Network(observation.detectors, device)
        chosen = slice(*self.members)
        waveforms = torch.as_tensor(bank.waveforms[chosen])
        # Spectra take the room of the series: (waveform, 2, stretch // 2 + 1) complex64.
        self.spectra = torch.cat([torch.fft.rfft(part.to(device)) for part in waveforms.split(256)])
        self.binaries = torch.tensor(
            bank.parameters[chosen], dtype=torch.float32, device=device
        )  # (waveform, columns)
        channels = range(observation.num_detectors)
        filters = np.stack([likelihood_filters(observation.noise(d), n) for d in channels])
        # Padded to twice the window, a circular correlation does not wrap around.
        self.filters = torch.tensor(
            np.fft.rfft(filters, 2 * n).conj(), dtype=torch.complex64, device=device
        )  # (detector, 2, frequency)
        stretch = self.series.stretch
        exact = torch.float32 if stretch <= LONGEST_IN_FLOAT32 else torch.float64
        self.bins = torch.arange(stretch // 2 + 1, dtype=exact, device=device)
        weights = self.population.detector_weights(observation.detectors)
        self.weights = torch.tensor(weights, device=device)

    def column(self, name: str, waveform: torch.Tensor) -> torch.Tensor:
        """Return a parameter that is kept with the binaries, of the shape of `waveform`."""
        return self.binaries[:, self.columns.index(name)][waveform]

    def replace_binaries(self, first: int, waveforms: np.ndarray, parameters: np.ndarray) -> None:
        """Put other binaries in the place of some members.

        Args:
            first: number of the first member that is replaced.
            waveforms: (rows, 2, stretch) float32, as in the bank.
            parameters: (rows, columns).
        """
        rows = slice(first, first + len(waveforms))
        self.spectra[rows] = torch.fft.rfft(torch.as_tensor(waveforms).to(self.device))
        self.binaries[rows] = torch.as_tensor(parameters).float().to(self.device)

    def uniform(
        self, shape: tuple[int, ...], low: float, high: float, generator: torch.Generator | None
    ) -> torch.Tensor:
        draws = torch.rand(shape, generator=generator, device=self.device)
        return low + (high - low) * draws

    def draw_snr(
        self, count: int, bounds: tuple[float, float], generator: torch.Generator | None
    ) -> torch.Tensor:
        """Draw network SNRs (count,), their density proportional to the inverse square."""
        low, high = bounds
        # Inverse transform sampling: with a density of 1 / snr^2, 1 / snr is uniform.
        return 1 / self.uniform((count,), 1 / high, 1 / low, generator)

    def draw_orientations(
        self, count: int, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """Draw waveform, sky position and polarisation together.

        They are isotropic, or weighted by amplitude where the population says so. What the
        population binds to the binary is taken from it.

        Returns:
            "waveform" (its number among the members), "longitude", "dec" and "psi", each (count,).
        """
        if self.population.sky == "amplitude":
            drawn = self.draw_weighted_orientations(count, generator)
        else:
            number = len(self.binaries)
            drawn = {
                "waveform": torch.randint(
                    number, (count,), generator=generator, device=self.device
                ),
                "longitude": self.uniform((count,), 0, math.tau, generator),
                "dec": self.uniform((count,), -1, 1, generator).asin(),
                "psi": self.uniform((count,), 0, math.pi, generator),
            }
        for name in ("dec", "psi"):
            if name in self.columns:
                drawn[name] = self.column(name, drawn["waveform"])
        if "ra" in self.columns:
            # The sky turns by 0.15 mrad while a window lasts, which is left out here.
            drawn["longitude"] = self.column("ra", drawn["waveform"]) - SIDEREAL_TIME
        return drawn

    def draw_weighted_orientations(
        self, count: int, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """Draw waveform, sky position and polarisation together, weighted by amplitude.

        The density is that of an isotropic population times
        sqrt(sum_d w_d (F+^2 ((1 + cos^2 i) / 2)^2 + Fx^2 cos^2 i)), i being the angle between
        the line of sight and the total angular momentum, which belongs to the waveform. Drawn
        exactly, by rejection.

        Returns:
            "waveform" (its number among the members), "longitude", "dec" and "psi", each (count,).
        """
        shape = (count, self.CANDIDATES)
        waveform = torch.randint(len(self.binaries), shape, generator=generator, device=self.device)
        longitude = self.uniform(shape, 0, math.tau, generator)
        dec = self.uniform(shape, -1, 1, generator).asin()
        psi = self.uniform(shape, 0, math.pi, generator)
        plus, cross = self.network.antenna_patterns(
            longitude, dec, psi
        )  # (count, candidate, detector)
        cos_i = self.column("theta_jn", waveform).cos()[..., None]
        power = (plus * (1 + cos_i**2) / 2) ** 2 + (cross * cos_i) ** 2
        amplitude = (self.weights * power).sum(-1).sqrt()  # (count, candidate)
        weights = self.population.detector_weights(self.observation.detectors)
        bound = math.sqrt(sum(weights))  # F+^2 + Fx^2 is at most one
        accepted = self.uniform(shape, 0, bound, generator) < amplitude
        first = accepted.byte().argmax(dim=1, keepdim=True)  # (count, 1)
        drawn = {"waveform": waveform, "longitude": longitude, "dec": dec, "psi": psi}
        return {name: values.gather(1, first)[:, 0] for name, values in drawn.items()}

    def project(
        self,
        waveform: torch.Tensor,
        longitude: torch.Tensor,
        dec: torch.Tensor,
        psi: torch.Tensor,
        phase: torch.Tensor,
        merger_time: torch.Tensor,
    ) -> torch.Tensor:
        """Return what the detectors see of waveforms of the bank at 1,000 Mpc.

        Args:
            waveform: numbers among the members, (rows,).
            longitude: right ascension less sidereal time, rad, (rows,).
            dec: declination, rad, (rows,).
            psi: polarisation angle, rad, (rows,).
            phase: orbital phase that is added to that of the waveform, rad, (rows,).
            merger_time: of the merger at the geocentre, s after the window begins, (rows,).

        Returns:
            (rows, detector, time) float32 in units of 1e-21.
        """
        plus, cross = self.network.antenna_patterns(longitude, dec, psi)  # (rows, detector)
        arrival = merger_time[:, None] + self.network.delays(longitude, dec)  # (rows, detector)
        # A shift by t multiplies bin k of a series of length T by exp(-2 pi i k t / T). Angles are
        # counted in turns: in the competition at most 540 of them, which float32 holds to 3e-5.
        # The bank's merger, at sample `before`, is shifted to the arrival time in the window,
        # which is the beginning of the series.
        before, stretch = self.series.before, self.series.stretch
        shift = arrival * (self.observation.sample_rate / stretch) - before / stretch
        turns = shift[..., None] * self.bins  # (rows, detector, frequency)
        angle = (2 * phase)[:, None, None] - math.tau * (turns - turns.round()).float()
        polarisations = self.spectra[waveform]  # (rows, 2, frequency)
        # h = F+ h+ + Fx hx: (rows, detector, 1) * (rows, 1, frequency)
        seen = plus[..., None] * polarisations[:, None, 0]
        seen = seen + cross[..., None] * polarisations[:, None, 1]
        seen = seen * torch.complex(angle.cos(), angle.sin())
        return torch.fft.irfft(seen, stretch)[..., : self.observation.num_samples]

    def optimal_snr(self, strain: torch.Tensor) -> torch.Tensor:
        """Return the optimal SNR of signals within their window, for each detector.

        The likelihood of Gaussian noise with covariance C gives rho^2 = h^T C^(-1) h, which is
        |C^(-1/2) h|^2. This is exact for the samples of the window. The usual integral over the
        spectrum counts what lies outside as well, or takes the window for periodic.

        Args:
            strain: (rows, detector, time) float32 in units of 1e-21.

        Returns:
            (rows, detector).
        """
        n = self.observation.num_samples
        spectra = torch.fft.rfft(strain, 2 * n)[:, :, None]  # (rows, detector, 1, frequency)
        correlation = torch.fft.irfft(spectra * self.filters, 2 * n)[..., :n]
        first, second = correlation.square().sum(-1).unbind(2)  # each (rows, detector)
        return (first - second).sqrt()

    def draw_placements(
        self, count: int, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """Draw the arguments of `project`, each (count,), from the population's law."""
        drawn = self.draw_orientations(count, generator)
        if self.population.phase_is_a_factor:
            drawn["phase"] = self.uniform((count,), 0, math.tau, generator)
        else:  # the binary has one
            drawn["phase"] = torch.zeros(count, device=self.device)
        drawn["merger_time"] = self.uniform((count,), *self.merger, generator)
        return drawn

    def draw_distance(
        self, waveform: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Draw luminosity distances (count,) in Mpc by the population's law.

        Args:
            waveform: numbers among the members, (count,).
            generator: on the generator's own device; default torch's own.
        """
        if "luminosity_distance" in self.columns:
            return self.column("luminosity_distance", waveform)
        mass = chirp_mass(self.column("mass_1", waveform), self.column("mass_2", waveform))
        u = self.uniform(tuple(waveform.shape), 0, 1, generator)
        return self.population.distance.distance(u, mass)

    def draw_at_bank_distance(
        self, count: int, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Draw signals at the distance of the bank.

        Args:
            count: how many.
            generator: on the generator's own device; default torch's own.

        Returns:
            Strain (count, detector, time) float32 in units of 1e-21, its optimal SNR (count,
            detector), and "waveform", "longitude", "dec", "psi", "phase" and "merger_time", each
            (count,), as `project` takes them.
        """
        drawn = self.draw_placements(count, generator)
        strain = self.project(**drawn)
        return strain, self.optimal_snr(strain), drawn

    def sample(
        self, count: int, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Draw signals.

        Args:
            count: how many.
            generator: on the generator's own device; default torch's own.

        Returns:
            Strain (count, detector, time) float32, and the parameters, each (count,): those of
            the binary, "waveform" (its number in the bank), "phase", "ra", "dec", "psi",
            "merger_time" (s after the window begins, at the geocentre), "luminosity_distance"
            (Mpc), the optimal SNR of each detector, such as "snr_H1", and "network_snr".
        """
        strain, snr, drawn = self.draw_at_bank_distance(count, generator)
        merger_time = drawn["merger_time"]
        if self.population.has_distance:
            scale = DISTANCE / self.draw_distance(drawn["waveform"], generator)
            network_snr = snr.norm(dim=1) * scale
        else:
            network_snr = self.draw_snr(count, self.population.snr, generator)
            scale = network_snr / snr.norm(dim=1)
        strain = strain * (scale[:, None, None] * STRAIN_UNIT)
        binary = self.binaries[drawn["waveform"]]  # (count, columns)
        sidereal = SIDEREAL_TIME + EARTH_ROTATION * merger_time
        parameters = {name: binary[:, i] for i, name in enumerate(PARAMETERS)}
        phase = drawn["phase"]
        if "phase" in self.columns:
            phase = phase + self.column("phase", drawn["waveform"])
        parameters |= {
            "waveform": drawn["waveform"] + self.members[0],
            "phase": phase,
            "ra": (drawn["longitude"] + sidereal) % math.tau,
            "dec": drawn["dec"],
            "psi": drawn["psi"],
            "merger_time": merger_time,
            "luminosity_distance": DISTANCE / scale,
        }
        parameters |= {
            f"snr_{name}": snr[:, d] * scale for d, name in enumerate(self.observation.detectors)
        }
        return strain, parameters | {"network_snr": network_snr}
